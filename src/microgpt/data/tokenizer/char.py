"""Character tokenizer: one index per code point. Needs only numpy."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown, unknown_error
from microgpt.data.tokenizer.hf_format import letters_json
from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.text import shown

_CODE_POINTS = sys.maxunicode + 1
_STAND_INS = "\ufffd? "


class CharTokenizer(Tokenizer, name="char"):
    """One index per character, in the order of the code points.

    Args:
        characters: the vocabulary, each character once, in the order of the indices.
        unknown: how to treat other characters. "replace" substitutes the first of U+FFFD, "?" and space that the
            vocabulary has, else its first character.

    Raises:
        DataError: there are no characters.
    """

    def __init__(self, characters: Iterable[str], unknown: Unknown = "error") -> None:
        super().__init__(unknown)
        self.characters = tuple(characters)
        if not self.characters:
            raise DataError("no characters", "the vocabulary", "give a text that is not empty")
        if len(set(self.characters)) != len(self.characters):
            raise DataError("a character occurs twice", "the vocabulary")
        V = len(self.characters)
        self._codes = np.array([ord(c) for c in self.characters], "<u4")  # (V,)
        # The table has an entry for every code point, so a lookup needs no bounds check; V means unknown.
        self._table = np.full(_CODE_POINTS, V, np.min_scalar_type(V))
        self._table[self._codes] = np.arange(V)
        # Most text is ASCII, and bytes.translate is the fastest lookup there is.
        self._ascii = self._table[:256].tobytes() if V < 256 else None

    @classmethod
    def from_text(cls, text: str, unknown: Unknown = "error") -> Self:
        """Make a tokenizer whose vocabulary is the characters of `text`.

        Raises:
            DataError: the text is empty.
        """
        return cls(_characters([text]), unknown)

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        return cls(_characters(chunks), config.unknown)

    @property
    def vocab_size(self) -> int:
        return len(self.characters)

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        V = self.vocab_size
        if self._ascii is not None and text.isascii():
            translated = bytearray(text, "ascii").translate(self._ascii)
            if bytes([V]) not in translated:
                return np.frombuffer(translated, np.uint8), Counter()
            ids = np.frombuffer(translated, np.uint8)
        else:
            ids = np.take(self._table, _code_points(text), mode="clip")
        positions = np.flatnonzero(ids == V)
        if not positions.size:
            return ids.astype(self.dtype, copy=False), Counter()
        unknown = [text[i] for i in positions.tolist()]
        if self.unknown == "error":
            raise unknown_error(unknown, offset + int(positions[0]), where)
        if self.unknown == "skip":
            ids = np.delete(ids, positions)
        else:
            ids[positions] = self._table[ord(self._stand_in)]
        return ids.astype(self.dtype, copy=False), Counter(unknown)

    def decode(self, ids: Any) -> str:
        codes: bytes = self._codes[self._checked(ids)].tobytes()
        return codes.decode("utf-32-le", "surrogatepass")

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        lengths = [len(c.encode("utf-8", "surrogatepass")) for c in self.characters]
        return np.array(lengths, np.int64), np.ones(self.vocab_size, np.int64)

    def state(self) -> dict[str, Any]:
        # Unprintable characters become U+XXXX: readable, and two adjacent surrogates stay separate.
        named = [c if c.isprintable() else f"U+{ord(c):04X}" for c in self.characters]
        return {"characters": named}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        names = values.get("characters")
        if not isinstance(names, list) or not 0 < len(names) <= _CODE_POINTS:
            raise CheckpointError("no list of characters", "the tokenizer")
        characters = [_named(name) for name in names]
        if len(set(characters)) != len(characters):
            twice = next(c for c, n in Counter(characters).items() if n > 1)
            raise CheckpointError(f"character {shown(twice)} twice", "the tokenizer")
        return cls(characters)

    def tokenizer_json(self) -> str:
        strange = next((c for c in self.characters if "\ud800" <= c <= "\udfff"), None)
        if strange is not None:
            what = f"the vocabulary holds U+{ord(strange):04X}, half of a character, which no tokenizer.json can"
            raise UsageError(what, "the tokenizer", "export with --format safetensors")
        return letters_json({c: i for i, c in enumerate(self.characters)}, None, {"type": "Fuse"})

    @property
    def _stand_in(self) -> str:
        return next((c for c in _STAND_INS if self._table[ord(c)] < self.vocab_size), self.characters[0])


def _named(name: Any) -> str:
    """The character that an entry of `state` stands for."""
    if isinstance(name, str):
        if len(name) == 1:
            return name
        digits = name[2:]
        if name.startswith("U+") and 4 <= len(digits) <= 6 and set(digits) <= set("0123456789ABCDEF"):
            code = int(digits, 16)
            if code < _CODE_POINTS:
                return chr(code)
    raise CheckpointError(f"{shown(name)} is no character", "the tokenizer", "write one character or U+XXXX")


def _code_points(text: str) -> np.ndarray:
    """The text's code points (n,), as uint8 if it is ASCII, else uint32."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _characters(chunks: Iterable[str]) -> list[str]:
    """The characters that occur in the chunks, sorted."""
    ascii_seen = b""
    seen = np.zeros(_CODE_POINTS, bool)
    for chunk in chunks:
        if chunk.isascii():
            new = chunk.encode("ascii").translate(None, ascii_seen)
            ascii_seen += bytes(set(new))
        else:
            codes = _code_points(chunk)
            if not np.take(seen, codes, mode="clip").all():
                seen[codes] = True
    seen[list(ascii_seen)] = True
    return [chr(code) for code in np.flatnonzero(seen).tolist()]
