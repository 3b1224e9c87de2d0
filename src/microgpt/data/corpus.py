"""From the knobs of `data` to three splits of indices. Needs torch and numpy alone.

The text is read in pieces: once for its hash, once for its vocabulary, once for its indices, which go to the cache
and are memory-mapped from there when the text is large. Memory stays bounded by the indices, or by a few megabytes.
"""

import fractions
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from microgpt.data import cache
from microgpt.data.config import DataConfig
from microgpt.data.dataset import as_ids
from microgpt.data.excerpt import Excerpt
from microgpt.data.sources import Source, find_source
from microgpt.data.tokenizer import Tokenizer, Unknown
from microgpt.data.tokenizer.base import PRETRAINED
from microgpt.errors import DataError, UsageError

CACHED_FROM = 4 << 20  # bytes of text; what is smaller is encoded faster than it is looked up
SPLITS = ("train", "val", "test")


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
        """UTF-8 bytes of text that a token stands for, on average: bits per byte = nats per token / ln 2 / this."""
        return self._lengths[0]

    @property
    def chars_per_token(self) -> float:
        """Characters of text that a token stands for, on average: bits per character = nats per token / ln 2 / this."""
        return self._lengths[1]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, encoded and split. `train`, `val`, `test` are 1-D index tensors; the last two may be empty.

    Attributes:
        name: of the corpus, or the path.
        sha256: of the source's bytes.
        unknown: characters outside the vocabulary, left out or replaced, with their counts.
    """

    name: str
    sha256: str
    tokenizer: Tokenizer
    unknown: Counter[str]
    splits: dict[str, EncodedText]

    @property
    def train(self) -> Tensor:
        return self.splits["train"].ids

    @property
    def val(self) -> Tensor:
        return self.splits["val"].ids

    @property
    def test(self) -> Tensor:
        return self.splits["test"].ids

    def bytes_per_token(self, split: str = "val") -> float:
        """UTF-8 bytes per token of a split; 0 when it is empty."""
        return self.splits[split].bytes_per_token

    def chars_per_token(self, split: str = "val") -> float:
        """Characters per token of a split; 0 when it is empty."""
        return self.splits[split].chars_per_token


def prepare(config: DataConfig, tokenizer: Tokenizer | None = None) -> Corpus:
    """Find, read, encode and split the text that the config names.

    Args:
        tokenizer: encodes the text with this one, a model's own; else one is made from the text.

    Raises:
        DataError: the text is missing, empty, not in its encoding, or has unknown characters.
    """
    place = cache.folder(config.cache_dir)
    source = find_source(config, place)
    sha256, sizes = source.digest()
    kind = type(tokenizer) if tokenizer else _kind(config)
    errors = kind.decoding_errors
    if next(source.texts(config.encoding, errors), None) is None:
        raise DataError("an empty text", source.name, "name a file with text in it")
    kept = place / "encoded" if sum(sizes) >= CACHED_FROM else None
    facts = (sha256, sizes, config.encoding)
    if kind.spans_characters:
        return _split_by_text(source, config, tokenizer, place / "encoded", facts)
    if tokenizer is None:
        tokenizer = _fitted(source, config, kept, cache.key(*facts, config.tokenizer))
    else:
        tokenizer = tokenizer.with_unknown(config.unknown)
    text = _encoded(source, config.encoding, tokenizer, kept, facts)
    bounds = _bounds(len(text), config.val_fraction, config.test_fraction)
    splits = {
        name: EncodedText(text.ids[low:high], tokenizer, text.unknown)
        for name, low, high in zip(SPLITS, bounds, bounds[1:], strict=False)
    }
    return Corpus(source.name, sha256, tokenizer, text.unknown, splits)


def read_text_ids(
    path: str, tokenizer: Tokenizer, encoding: str = "utf-8", unknown: Unknown = "error", cache_dir: str | None = None
) -> EncodedText:
    """The whole of a file, folder or glob in a model's own vocabulary, with its unknown characters counted.

    Raises:
        ConfigError: the encoding is none that Python knows.
        DataError: as `prepare`.
    """
    config = DataConfig(path=path, encoding=encoding, unknown=unknown, val_fraction=0.0, cache_dir=cache_dir)
    return prepare(config, tokenizer).splits["train"]


def _kind(config: DataConfig) -> type[Tokenizer]:
    if config.tokenizer == PRETRAINED:
        fix = "name a model with model.pretrained=..., or take another tokenizer"
        raise UsageError(f"tokenizer {config.tokenizer!r} comes with a model", "data.tokenizer", fix)
    return Tokenizer.named(config.tokenizer, "data.tokenizer")


def _split_by_text(
    source: Source, config: DataConfig, tokenizer: Tokenizer | None, kept: Path, facts: tuple[object, ...]
) -> Corpus:
    """The corpus of a tokenizer whose tokens span characters; it and its tokens are kept, as making them takes long."""
    n = sum(map(len, source.texts(config.encoding)))
    bounds = _bounds(n, config.val_fraction, config.test_fraction)
    parts = [Excerpt(source, low, high) for low, high in itertools.pairwise(bounds)]
    if tokenizer is None:
        key = cache.key(*facts, config.tokenizer, config.vocab_size, bounds[1])
        tokenizer = _fitted(parts[0], config, kept, key)
    else:
        tokenizer = tokenizer.with_unknown(config.unknown)
    texts = [
        _encoded(part, config.encoding, tokenizer, kept, (*facts, part.low, part.high))
        if part.low < part.high
        else EncodedText(as_ids(np.empty(0, tokenizer.dtype)), tokenizer, Counter())
        for part in parts
    ]
    unknown = sum((text.unknown for text in texts), Counter[str]())
    return Corpus(source.name, str(facts[0]), tokenizer, unknown, dict(zip(SPLITS, texts, strict=True)))


def _fitted(source: Source | Excerpt, config: DataConfig, kept: Path | None, key: str) -> Tokenizer:
    kind = _kind(config)
    tokenizer = cache.load_tokenizer(kept, key) if kept else None
    if tokenizer is None:
        tokenizer = kind.fit(source.texts(config.encoding, kind.decoding_errors), config)
        if kept:
            cache.save_tokenizer(kept, key, tokenizer)
    if tokenizer.vocab_size == 1:
        warnings.warn(f"{source.name} has one unique character: there is nothing to learn", stacklevel=3)
    return tokenizer.with_unknown(config.unknown)


def _encoded(
    source: Source | Excerpt, encoding: str, tokenizer: Tokenizer, kept: Path | None, facts: tuple[object, ...]
) -> EncodedText:
    key = cache.key(*facts, tokenizer.to_dict(), tokenizer.unknown)
    entry = cache.load_ids(kept, key, tokenizer.dtype) if kept else None
    if entry is None and kept and cache.save_ids(kept, key, _pieces(source, encoding, tokenizer)):
        entry = cache.load_ids(kept, key, tokenizer.dtype)
    if entry is None:
        entry = _in_memory(_pieces(source, encoding, tokenizer), tokenizer)
    ids, unknown = entry
    if not len(ids):
        raise DataError("no known character", source.name, "name a text in the model's own alphabet")
    return EncodedText(as_ids(ids), tokenizer, unknown)


def _pieces(source: Source | Excerpt, encoding: str, tokenizer: Tokenizer) -> Iterator[tuple[np.ndarray, Counter[str]]]:
    """The indices of the text, piece by piece."""
    position, held = 0, ""
    for text in source.texts(encoding, tokenizer.decoding_errors):
        held += text
        if settled := tokenizer.settled(held):
            yield tokenizer.encode_counted(held[:settled], where=source.name, offset=position)
            position, held = position + settled, held[settled:]
    yield tokenizer.encode_counted(held, where=source.name, offset=position)


def _in_memory(
    pieces: Iterator[tuple[np.ndarray, Counter[str]]], tokenizer: Tokenizer
) -> tuple[np.ndarray, Counter[str]]:
    buffer, unknown = bytearray(), Counter[str]()  # grows in place, where a list of arrays would need twice the memory
    for ids, strange in pieces:
        buffer += ids.data.cast("B")
        unknown += strange
    return np.frombuffer(buffer, tokenizer.dtype), unknown


def _bounds(n: int, val_fraction: float, test_fraction: float) -> tuple[int, int, int, int]:
    """Where the splits begin and end. Fractions are taken as written: 0.1 is a tenth, not the float nearest to it."""
    val, test = fractions.Fraction(str(val_fraction)), fractions.Fraction(str(test_fraction))
    return 0, math.floor(n * (1 - val - test)), math.floor(n * (1 - test)), n
