"""From characters to indices: fit a tokenizer, encode a text piece by piece, keep both. Needs torch and numpy alone.

The indices of a large text are written to the cache and memory-mapped from there, so that memory stays bounded by a few
megabytes.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

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
    """Indices and where they come from.

    Attributes:
        ids: 1-D, the smallest integer type that torch computes with; maybe memory-mapped.
        unknown: characters of the whole text outside the vocabulary, left out or replaced, with their counts.
    """

    ids: Tensor
    tokenizer: Tokenizer
    unknown: Counter[str]

    @cached_property
    def _lengths(self) -> tuple[float, float]:
        counts = np.zeros(self.tokenizer.vocab_size, np.int64)  # (V,)
        ids = self.ids.numpy()
        for low in range(0, len(ids), 1 << 22):
            counts += np.bincount(ids[low : low + (1 << 22)], minlength=self.tokenizer.vocab_size)
        n = max(1, len(self.ids))
        n_bytes, n_chars = (int(counts @ lengths) for lengths in self.tokenizer.token_lengths())
        return n_bytes / n, n_chars / n

    @property
    def bytes_per_token(self) -> float:
        """Mean bytes of UTF-8 in a token, 0 without tokens: bits per byte = nats per token / ln 2 / this."""
        return self._lengths[0]

    @property
    def chars_per_token(self) -> float:
        """Mean characters in a token, 0 without tokens: bits per character = nats per token / ln 2 / this."""
        return self._lengths[1]

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, low: int, high: int) -> Self:
        """The tokens from `low` to `high`."""
        return replace(self, ids=self.ids[low:high])


def fit_tokenizer(text: DecodedText, kind: type[Tokenizer], knobs: FitKnobs, cache: Cache) -> Tokenizer:
    """The tokenizer of a text, made or found in the cache."""
    facts = [*text.facts[:3], kind.name]
    facts += [knobs.vocab_size, text.high] if kind.spans_characters else []
    facts += [knobs.vocab_size, code] if (code := code_hash(kind)) else []
    entry = TokenizerEntry(key(*facts))
    tokenizer = cache.get(entry)
    if tokenizer is None:
        tokenizer = kind.fit(text.pieces(), knobs)
        cache.put(entry, tokenizer)
    if tokenizer.vocab_size == 1:
        warnings.warn(f"{text.name} has one unique character: there is nothing to learn", stacklevel=3)
    return tokenizer.with_unknown(knobs.unknown)


def encode(text: DecodedText, tokenizer: Tokenizer, cache: Cache) -> EncodedText:
    """The indices of a text, made or found in the cache.

    Raises:
        DataError: the text has unknown characters which may not be left out, or no known one.
    """
    if text.low == text.high:
        return EncodedText(as_ids(np.empty(0, tokenizer.dtype)), tokenizer, Counter())
    code = code_hash(type(tokenizer))
    facts = (*text.facts, tokenizer.to_dict(), tokenizer.unknown, *([code] if code else []))
    entry = IdsEntry(key(*facts), tokenizer.dtype)
    found = cache.get(entry)
    if found is None and cache.put(entry, encoded_pieces(text, tokenizer)):
        found = cache.get(entry)
    ids, unknown = found or in_memory(encoded_pieces(text, tokenizer), tokenizer)
    if not len(ids):
        raise DataError("no known character", text.name, "name a text in the model's own alphabet")
    return EncodedText(as_ids(ids), tokenizer, unknown)


def code_hash(kind: type[Tokenizer]) -> str | None:
    """The SHA-256 of the files that define a tokenizer of the user's: the cache must not return what older code made.
    Empty for one that ships, None where the code is in no file."""
    modules = {base.__module__ for base in kind.__mro__ if issubclass(base, Tokenizer)}
    files = [getattr(sys.modules.get(name), "__file__", None) for name in modules if not name.startswith("microgpt.")]
    try:
        return " ".join(sorted(sha256(Path(str(file))) for file in files))
    except OSError:
        return None


def encoded_pieces(text: DecodedText, tokenizer: Tokenizer) -> Iterator[Ids]:
    """The indices of the text and its unknown characters, piece by piece."""
    position, held = 0, ""
    for piece in text.pieces():
        held += piece
        if settled := tokenizer.settled(held):
            yield tokenizer.encode_counted(held[:settled], where=text.name, offset=position)
            position, held = position + settled, held[settled:]
    yield tokenizer.encode_counted(held, where=text.name, offset=position)


def in_memory(pieces: Iterator[Ids], tokenizer: Tokenizer) -> Ids:
    """The pieces as one array."""
    buffer, unknown = bytearray(), Counter[str]()  # grows in place, where a list of arrays would need twice the memory
    for ids, strange in pieces:
        buffer += ids.data.cast("B")
        unknown += strange
    return np.frombuffer(buffer, tokenizer.dtype), unknown
