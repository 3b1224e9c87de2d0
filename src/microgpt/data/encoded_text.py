"""Fit a tokenizer, encode a text piece by piece, and cache both. Needs only torch and numpy.

A large text's indices are written to the cache and memory-mapped from there, so that encoding takes a few megabytes of
memory.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from torch import Tensor

from microgpt.data.cache import Cache, Ids, IdsEntry, TokenizerEntry, key
from microgpt.data.dataset import as_ids
from microgpt.data.decoded_text import DecodedText
from microgpt.data.tokenizer import Tokenizer
from microgpt.data.tokenizer.base import FitKnobs
from microgpt.errors import DataError
from microgpt.files import sha256


@dataclass(frozen=True, eq=False)
class EncodedText:
    """A text's indices, and the tokenizer that encoded it.

    Attributes:
        ids: 1-D, in the smallest integer type that torch computes with; may be memory-mapped.
        unknown: counts of the whole text's characters outside the vocabulary, which were left out or replaced.
        size: UTF-8 bytes and characters of the text, without those left out; None if each token has a length.
    """

    ids: Tensor
    tokenizer: Tokenizer
    unknown: Counter[str]
    size: tuple[int, int] | None = None

    @cached_property
    def _lengths(self) -> tuple[float, float]:
        n = max(1, len(self.ids))
        n_bytes, n_chars = self.size or self._sizes_of_tokens()
        return n_bytes / n, n_chars / n

    def _sizes_of_tokens(self) -> tuple[int, int]:
        counts = np.zeros(self.tokenizer.vocab_size, np.int64)  # (V,)
        ids = self.ids.numpy()
        for low in range(0, len(ids), 1 << 22):
            counts += np.bincount(ids[low : low + (1 << 22)], minlength=self.tokenizer.vocab_size)
        n_bytes, n_chars = (int(counts @ lengths) for lengths in self.tokenizer.token_lengths())
        return n_bytes, n_chars

    @property
    def scored(self) -> "Tensor | EncodedText":
        """What an evaluation scores: the tokens (n,), or the documents if it is one text a document."""
        return self.ids

    @property
    def bytes_per_token(self) -> float:
        """Mean UTF-8 bytes per token, 0 without tokens: bits per byte = nats per token / ln 2 / this."""
        return self._lengths[0]

    @property
    def chars_per_token(self) -> float:
        """Mean characters per token, 0 without tokens: bits per character = nats per token / ln 2 / this."""
        return self._lengths[1]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, low: int, high: int) -> Self:
        """The tokens `low .. high - 1`, if each has a length."""
        assert self.size is None
        return replace(self, ids=self.ids[low:high])


class FittedText(Protocol):
    """What fitting a tokenizer needs of a text."""

    @property
    def name(self) -> str:
        """Of the text, for messages."""

    @property
    def facts(self) -> tuple[Any, ...]:
        """What the text depends on; the first three are the same for every split."""

    @property
    def high(self) -> int | None:
        """The end of the split, None for the whole text."""

    def pieces(self) -> Iterator[str]:
        """The text, piece by piece."""


def fit_tokenizer(text: FittedText, kind: type[Tokenizer], knobs: FitKnobs, cache: Cache) -> Tokenizer:
    """Fit a tokenizer to a text, or take it from the cache."""
    facts = [*text.facts[:3], kind.name]
    facts += [knobs.vocab_size, text.high] if kind.spans_characters else []
    facts += [knobs.vocab_size, code] if (code := code_hash(kind)) else []
    entry = TokenizerEntry(key(*facts))
    tokenizer = cache.get(entry)
    if tokenizer is None:
        tokenizer = kind.fit(text.pieces(), knobs)
        cache.put(entry, tokenizer)
    if tokenizer.vocab_size == 1:
        warnings.warn(f"{text.name} has one unique character: there is nothing to learn", stacklevel=4)
    return tokenizer.with_unknown(knobs.unknown)


def encode(text: DecodedText, tokenizer: Tokenizer, cache: Cache) -> EncodedText:
    """Encode a text, or take its indices from the cache.

    Raises:
        DataError: the text has unknown characters under the policy "error", or no known character.
    """
    if text.low == text.high:
        return EncodedText(as_ids(np.empty(0, tokenizer.dtype)), tokenizer, Counter(), (0, 0))
    code = code_hash(type(tokenizer))
    facts = (*text.facts, tokenizer.to_dict(), tokenizer.unknown, *([code] if code else []))
    entry = IdsEntry(key(*facts), tokenizer.dtype)
    found = cache.get(entry)
    if found is None and cache.put(entry, encoded_pieces(text, tokenizer)):
        found = cache.get(entry)
    whole = found or in_memory(encoded_pieces(text, tokenizer), tokenizer)
    if not len(whole.ids):
        raise DataError("no known character", text.name, "name a text in the model's own alphabet")
    size = (whole.utf8_bytes, whole.characters) if tokenizer.spans_characters else None
    return EncodedText(as_ids(whole.ids), tokenizer, whole.unknown, size)


def code_hash(kind: type[Tokenizer]) -> str | None:
    """The SHA-256 of the files that define a user's tokenizer, so that the cache returns nothing that older code made.
    Empty for a built-in tokenizer, None if the code is in no file."""
    modules = {base.__module__ for base in kind.__mro__ if issubclass(base, Tokenizer)}
    files = [getattr(sys.modules.get(name), "__file__", None) for name in modules if not name.startswith("microgpt.")]
    try:
        return " ".join(sorted(sha256(Path(str(file))) for file in files))
    except OSError:
        return None


def encoded_pieces(text: DecodedText, tokenizer: Tokenizer) -> Iterator[Ids]:
    """Encode the text piece by piece."""
    position, held = text.low, ""
    for piece in text.pieces():
        held += piece
        if settled := tokenizer.settled(held):
            yield encoded_piece(held[:settled], tokenizer, text.name, position)
            position, held = position + settled, held[settled:]
    yield encoded_piece(held, tokenizer, text.name, position)


def encoded_piece(text: str, tokenizer: Tokenizer, name: str, position: int) -> Ids:
    """Encode a piece that begins at `position` of the text `name`."""
    ids, unknown = tokenizer.encode_counted(text, where=name, offset=position)
    left_out = unknown if tokenizer.leaves_out_unknown else Counter[str]()
    characters = len(text) - left_out.total()
    n_bytes = utf8_bytes(text) - sum(utf8_bytes(character) * count for character, count in left_out.items())
    return Ids(ids, unknown, characters, n_bytes)


def utf8_bytes(text: str) -> int:
    """The size of a text in UTF-8; halves of characters count as three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def in_memory(pieces: Iterator[Ids], tokenizer: Tokenizer) -> Ids:
    """Join the pieces in one array."""
    buffer, unknown = bytearray(), Counter[str]()  # grows in place, where a list of arrays would need twice the memory
    characters = n_bytes = 0
    for piece in pieces:
        buffer += piece.ids.data.cast("B")
        unknown += piece.unknown
        characters, n_bytes = characters + piece.characters, n_bytes + piece.utf8_bytes
    return Ids(np.frombuffer(buffer, tokenizer.dtype), unknown, characters, n_bytes)
