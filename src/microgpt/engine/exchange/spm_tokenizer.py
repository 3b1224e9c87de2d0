"""A SentencePiece model as a tokenizer.json, whose tokens and texts are those of the package `sentencepiece`.

Control pieces such as </s> are found in a text, as transformers does; SentencePiece spells them.
"""

import base64
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

from microgpt.data.tokenizer.hf_format import added_token, bpe_model
from microgpt.engine.exchange.spm_file import Kind, Piece, PieceType, SPMModel, read_spm
from microgpt.errors import CheckpointError
from microgpt.extras import package
from microgpt.model.files.untrusted import damaged
from microgpt.text import one_line, shown

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"The character that stands for a space in pieces."
TILDE, NO_CHARACTER = "\uff5e", "\ufdd0"
MADE_SPACES = "[\u1680\u200c\u2581\ufffd]"
"Characters that may have marks, of which the rules nmt make spaces."
MOST_MERGES = 2_000_000
"Most pairs that make a piece; the largest vocabularies in use have a quarter of them."


def from_spm(path: Path) -> dict[str, Any]:
    """The tokenizer.json of a tokenizer.model.

    Raises:
        CheckpointError: the file is damaged, or its tokens cannot be expressed.
    """
    model = read_spm(path)
    control = [(i, p.text) for i, p in enumerate(model.pieces) if p.type is PieceType.CONTROL]
    own = [p.text for p in model.pieces if p.type is PieceType.USER_DEFINED]
    refuse_changed(own, model, path)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(i, text, True) for i, text in control],
        "normalizer": {"type": "Sequence", "normalizers": list(normalizers(model))},
        "pre_tokenizer": cutter(own, model),
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders(model)},
        "model": unigram(model) if model.kind is Kind.UNIGRAM else bpe(model, bool(own), path),
    }


def normalizers(model: SPMModel) -> list[dict[str, Any]]:
    """What is done to a text, in SentencePiece's order."""
    steps: list[dict[str, Any]] = []
    if model.charsmap:
        steps += charsmap(model)
    if model.trims_spaces:
        steps += [replace(r"\A +| +\z", ""), replace(" {2,}", " ")]
    if model.adds_space:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append(literal(" ", SPACE))
    if model.trims_spaces:
        steps.append(replace(rf"{SPACE}+\z", ""))
    return steps


def charsmap(model: SPMModel) -> list[dict[str, Any]]:
    """How characters are normalised.

    The library's `Precompiled` loses the marks after a character that it changes, so what it does to characters that
    may have marks is done before it.
    """
    steps: list[dict[str, Any]] = [{"type": "NFKC"}]
    if model.rules.startswith("nmt"):  # it keeps the fullwidth tilde
        steps = [literal(TILDE, NO_CHARACTER), *steps, literal(NO_CHARACTER, TILDE), replace(MADE_SPACES, " ")]
    return [*steps, {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(model.charsmap).decode()}]


def literal(found: str, content: str) -> dict[str, Any]:
    """The step that replaces a text."""
    return {"type": "Replace", "pattern": {"String": found}, "content": content}


def replace(pattern: str, content: str) -> dict[str, Any]:
    """The step that replaces what a pattern finds."""
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def cutter(own: list[str], model: SPMModel) -> dict[str, Any] | None:
    """The step that keeps user-defined pieces whole, and literal names of bytes from becoming bytes."""
    patterns = [re.escape(text) for text in sorted(own, key=len, reverse=True)]
    if model.kind is Kind.UNIGRAM:
        unknown = next(piece.text for piece in model.pieces if piece.type is PieceType.UNKNOWN)
        names = [re.escape(unknown[1:]), *(["0x[0-9A-F]{2}>"] if model.spells_bytes else [])]
        patterns.append(f"{re.escape(unknown[0])}(?={'|'.join(names)})")
    if not patterns:
        return None
    return {"type": "Split", "pattern": {"Regex": "|".join(patterns)}, "behavior": "Isolated", "invert": False}


def decoders(model: SPMModel) -> list[dict[str, Any]]:
    """What turns pieces into a text."""
    steps: list[dict[str, Any]] = [literal(SPACE, " ")]
    if model.spells_bytes:
        steps.append({"type": "ByteFallback"})
    steps.append({"type": "Fuse"})
    if model.adds_space or model.trims_spaces:
        steps.append({"type": "Strip", "content": " ", "start": 1 << 31 if model.trims_spaces else 1, "stop": 0})
    return steps


def unigram(model: SPMModel) -> dict[str, Any]:
    """The model that takes the likeliest pieces."""
    unknown = [piece.type for piece in model.pieces].index(PieceType.UNKNOWN)
    vocab = [[piece.text, piece.score] for piece in model.pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": model.spells_bytes}


def bpe(model: SPMModel, has_own: bool, path: Path) -> dict[str, Any]:
    """The model that merges the pair whose whole has the best score; a model of characters merges nothing."""
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    unknown = next(piece.text for piece in model.pieces if piece.type is PieceType.UNKNOWN)
    settings = {"unk_token": unknown, "fuse_unk": True, "byte_fallback": model.spells_bytes, "ignore_merges": has_own}
    return bpe_model(vocab, merges(model.pieces, path) if model.kind is Kind.BPE else [], **settings)


def merges(pieces: list[Piece], path: Path) -> list[list[str]]:
    """The pairs of pieces that make a piece, the best score first.

    Raises:
        CheckpointError: pieces have equal scores, so that SentencePiece would merge the leftmost of them first.
    """
    scores = {piece.text: piece.score for piece in pieces if piece.type is PieceType.NORMAL}
    pairs = (
        (-score, text[:cut], text[cut:])
        for text, score in scores.items()
        for cut in range(1, len(text))
        if text[:cut] in scores and text[cut:] in scores
    )
    found = list(islice(pairs, MOST_MERGES + 1))
    if len(found) > MOST_MERGES:
        raise damaged(path, f"more than {MOST_MERGES:,} pairs of pieces make a piece")
    made = Counter(score for score, _ in {(score, left + right) for score, left, right in found})
    if equal := [score for score, count in made.items() if count > 1]:
        what = f"{made[equal[0]]} pieces have the score {-equal[0]:g}, so that their order is not known"
        raise CheckpointError(what, str(path), "take the tokenizer.json that belongs to the model")
    return [[left, right] for _, left, right in sorted(found)]


def refuse_changed(own: list[str], model: SPMModel, path: Path) -> None:
    """Refuse user-defined pieces that normalising a text would change: SentencePiece leaves them as they are."""
    if not own or not model.charsmap:
        return
    tokenizers = package("tokenizers", "hf", "this tokenizer")
    try:
        normalizer = tokenizers.normalizers.Precompiled(model.charsmap)
        odd = [text for text in own if normalizer.normalize_str(text) != text]
    except BaseException as error:  # the library's panics are not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise damaged(path, f"its table of characters cannot be read ({one_line(error, 100)})") from None
    if odd:
        what = f"the user-defined piece {shown(odd[0])}, which normalising would change"
        raise CheckpointError(what, str(path), "take the tokenizer.json that belongs to the model")
