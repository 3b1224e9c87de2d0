"""Read the file of a SentencePiece model (https://github.com/google/sentencepiece) as untrusted data.

Only the fields of its sentencepiece_model.proto that decide how a text is cut are read. The wire format:
https://protobuf.dev/programming-guides/encoding.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from microgpt.errors import CheckpointError
from microgpt.files import read_capped
from microgpt.model.files.untrusted import damaged
from microgpt.text import shown

LIMIT = 16 << 20
"Most bytes of a file; the largest vocabularies in use, of 256,000 pieces, take 5 MB."
RULES = ("nfkc", "nmt_nfkc")
"SentencePiece's own rules to normalise characters by, built on Unicode's NFKC; those that fold case are not read."
LONGEST = 256
"Most characters of a piece."
MOST_OWN = 4096
"Most user-defined pieces, each of which is looked for at every place of a text; Gemma has some hundreds."


class Kind(IntEnum):
    """How a model cuts a text into pieces."""

    UNIGRAM, BPE, WORD, CHAR = 1, 2, 3, 4


class PieceType(IntEnum):
    """What a piece is."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary."""

    text: str
    score: float
    type: PieceType


@dataclass(frozen=True)
class SPMModel:
    """What decides how a SentencePiece model cuts a text."""

    kind: Kind
    pieces: list[Piece]
    spells_bytes: bool
    "Whether unknown characters become the pieces of their bytes."
    charsmap: bytes
    "How characters are normalised, compiled; empty: not at all."
    rules: str
    "The rules' name, one of `RULES` unless they are empty."
    adds_space: bool
    "Whether a space is put before a text."
    trims_spaces: bool
    "Whether spaces at the ends are removed, and several in a row become one."


def read_spm(path: Path) -> SPMModel:
    """Read a tokenizer.model.

    Raises:
        CheckpointError: the file is missing, damaged, or of a kind that we cannot express.
    """
    try:
        data = read_capped(path, LIMIT)
    except FileNotFoundError:
        raise CheckpointError("no such file", str(path), "name a tokenizer.model") from None
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read ({error})") from None
    try:
        return _model(data, path)
    except (ValueError, struct.error) as error:
        raise damaged(path, f"no SentencePiece model, {error}") from None


def _model(data: bytes, path: Path) -> SPMModel:
    pieces: list[Piece] = []
    parts = {2: b"", 3: b"", 5: b""}  # a message that comes in several pieces is their concatenation
    for number, value in fields(data):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        elif number in parts:
            parts[number] += _bytes(value)
    trainer, normalizer, denormalizer = (dict(fields(parts[number])) for number in (2, 3, 5))
    kind, charsmap = Kind(_number(trainer.get(3, 1))), _bytes(normalizer.get(2, b""))
    rules, types = _bytes(normalizer.get(1, b"")).decode(), [piece.type for piece in pieces]
    refused = {
        f"model_type={kind.name.lower()}": kind is Kind.WORD,
        "treat_whitespace_as_suffix=true": trainer.get(24),
        "escape_whitespaces=false": not normalizer.get(5, 1),
        f"the normalisation rules {shown(rules)}": charsmap and rules not in RULES,
        "a denormalizer": denormalizer.get(2),
        "unused pieces": types.count(PieceType.UNUSED),
        f"more than {MOST_OWN:,} user-defined pieces": types.count(PieceType.USER_DEFINED) > MOST_OWN,
    }
    if named := [name for name, is_so in refused.items() if is_so]:
        raise CheckpointError(f"a SentencePiece model with {', '.join(named)}, which we cannot express", str(path))
    adds_space, trims_spaces = bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1))
    model = SPMModel(kind, pieces, bool(trainer.get(35)), charsmap, rules, adds_space, trims_spaces)
    _check(model)
    return model


def _piece(data: bytes) -> Piece:
    values = dict(fields(data))
    text = _bytes(values.get(1, b"")).decode()
    score = values.get(2, bytes(4))
    number = struct.unpack("<f", _bytes(score))[0]
    if not text or len(text) > LONGEST or not math.isfinite(number):
        raise ValueError(f"a piece of {len(text)} characters and the score {number:g}")
    return Piece(text, number, PieceType(_number(values.get(3, 1))))


def _check(model: SPMModel) -> None:
    """Raise ValueError for a vocabulary that SentencePiece itself would refuse."""
    types = [piece.type for piece in model.pieces]
    if len({piece.text for piece in model.pieces}) != len(types):
        raise ValueError("a piece stands twice")
    if types.count(PieceType.UNKNOWN) != 1:
        raise ValueError(f"{types.count(PieceType.UNKNOWN)} unknown pieces instead of one")
    spelt = {piece.text for piece in model.pieces if piece.type is PieceType.BYTE}
    if spelt != ({f"<0x{byte:02X}>" for byte in range(256)} if model.spells_bytes else set()):
        raise ValueError(f"{len(spelt)} pieces for bytes")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield each field's number and value: an int, or the bytes of a text, a message or a number of fixed size.

    Raises:
        ValueError: the bytes are no protocol buffer.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")
        if at + size > len(data):
            raise ValueError("it ends too early")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at a place, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends too early")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes in place of a number")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number in place of bytes")
    return value
