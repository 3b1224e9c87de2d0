"""A source as documents: counted, split by document, encoded between start and end tokens.

Splits take whole documents, drawn by a fixed permutation of their numbers, so that sorted files split fairly; each
split keeps the order of the source. Documents are read one at a time, as often as needed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from microgpt.data import rng
from microgpt.data.cache import Cache, Ids, IdsEntry, key
from microgpt.data.compressed import is_parquet, rows
from microgpt.data.dataset import as_ids
from microgpt.data.document_format import DocumentFormat
from microgpt.data.encoded_text import EncodedText, code_hash, encoded_piece, in_memory, utf8_bytes
from microgpt.data.permutation import permute
from microgpt.data.sources import Source, decoded, shown_part
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.errors import DataError

_AT_ONCE = 1 << 16  # characters to encode at once
_NUMBERS = 1 << 12


@dataclass(frozen=True)
class Documents:
    """A source's documents, or one split of them.

    Attributes:
        errors: how to treat undecodable bytes, as in `bytes.decode`.
        count: the number of documents in the source.
        low, high: the split holds the documents whose places in the permutation are `low .. high - 1`.
    """

    source: Source
    encoding: str
    errors: str
    form: DocumentFormat
    sha256: str
    sizes: tuple[int, ...]
    count: int
    low: int
    high: int

    @classmethod
    def of(cls, source: Source, encoding: str, errors: str, form: DocumentFormat) -> Self:
        """All documents of a source; reads it once to hash it and once to count them.

        Raises:
            DataError: there is no document, or the source cannot be read.
        """
        whole = cls(source, encoding, errors, form, *source.digest(), count=0, low=0, high=0)
        count = sum(1 for _ in whole._all())
        if not count:
            raise DataError(
                f"no document (data.documents={form.kind})", source.name, "name a text with documents in it"
            )
        return replace(whole, count=count, high=count)

    @property
    def name(self) -> str:
        """The source's name: a corpus or a path."""
        return self.source.name

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything that the documents depend on, the split last."""
        form = self.form
        return (
            self.sha256,
            self.sizes,
            [self.encoding, form.kind, form.separator, form.jsonl_key],
            self.low,
            self.high,
        )

    def __len__(self) -> int:
        return self.high - self.low

    def __iter__(self) -> Iterator[str]:
        if len(self) == self.count:
            yield from self._all()
            return
        chosen = self._chosen()
        for document, is_chosen in zip(self._all(), chosen, strict=False):
            if is_chosen:
                yield document

    def pieces(self) -> Iterator[str]:
        """The documents, for a tokenizer to learn from."""
        return iter(self)

    def split(self, bounds: tuple[int, int]) -> Self:
        """The documents at these places of the permutation."""
        return replace(self, low=bounds[0], high=bounds[1])

    def _all(self) -> Iterator[str]:
        for part in self.source.parts:
            if isinstance(part, Path) and is_parquet(part) and self.form.kind == "jsonl":
                yield from filter(None, rows(part, self.form.jsonl_key))
                continue
            yield from self.form.divided(decoded(part, self.encoding, self.errors), shown_part(part))

    def _chosen(self) -> Iterator[bool]:
        seed = rng.key(0, "documents", 0)
        for start in range(0, self.count, _NUMBERS):
            places = permute(np.arange(start, min(start + _NUMBERS, self.count)), self.count, seed)
            yield from ((places >= self.low) & (places < self.high)).tolist()


@dataclass(frozen=True, eq=False)
class EncodedDocuments(EncodedText):
    """Documents one after another, each between its start and its end token.

    A start token is context alone: it is not scored, and lengths per token do not count it.
    """

    @cached_property
    def starts(self) -> np.ndarray:
        """The places of the start tokens: int64 (n,)."""
        assert isinstance(self.tokenizer, DocumentTokenizer)
        start, end = self.tokenizer.start, self.tokenizer.end
        ids, step = self.ids.numpy(), 1 << 22
        found = [low + np.flatnonzero(ids[low : low + step] == start) for low in range(0, len(ids), step)]
        places = np.concatenate([np.empty(0, np.int64), *found])
        return places if start != end else places[::2].copy()  # no document holds the token: every other one is an end

    @cached_property
    def lengths(self) -> np.ndarray:
        """The tokens of each document, its start and end included: int64 (n,)."""
        lengths: np.ndarray = np.diff(self.starts, append=len(self.ids))
        return lengths

    @property
    def scored(self) -> "EncodedDocuments":
        return self

    def without_starts(self) -> np.ndarray:
        """The tokens that are scored, one document after another: what n-gram baselines predict."""
        scored: np.ndarray = np.delete(self.ids.numpy(), self.starts)
        return scored

    @property
    def scored_tokens(self) -> int:
        """The number of tokens without the start tokens."""
        return len(self.ids) - len(self.starts)

    @cached_property
    def _lengths(self) -> tuple[float, float]:
        n_bytes, n_chars = self.size or (0, 0)
        return n_bytes / max(1, self.scored_tokens), n_chars / max(1, self.scored_tokens)


def encode_documents(documents: Documents, tokenizer: DocumentTokenizer, cache: Cache) -> EncodedDocuments:
    """Encode a split, or take its indices from the cache.

    Raises:
        DataError: a document has unknown characters under the policy "error".
    """
    code = code_hash(type(tokenizer.inner))
    facts = (*documents.facts, tokenizer.to_dict(), tokenizer.unknown, *([code] if code else []))
    entry = IdsEntry(key(*facts), tokenizer.dtype)
    if not len(documents):
        return EncodedDocuments(as_ids(np.empty(0, tokenizer.dtype)), tokenizer, Counter(), (0, 0))
    found = cache.get(entry)
    if found is None and cache.put(entry, encoded_batches(documents, tokenizer, documents.name)):
        found = cache.get(entry)
    whole = found or in_memory(encoded_batches(documents, tokenizer, documents.name), tokenizer)
    return EncodedDocuments(as_ids(whole.ids), tokenizer, whole.unknown, (whole.utf8_bytes, whole.characters))


def encoded_batches(documents: Iterable[str], tokenizer: DocumentTokenizer, name: str) -> Iterator[Ids]:
    """Encode documents, some tens of thousands of characters at a time."""
    batch: list[str] = []
    characters, number = 0, 1
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= _AT_ONCE or len(batch) >= _NUMBERS:
            yield _encoded(batch, tokenizer, name, number)
            characters, number, batch = 0, number + len(batch), []
    if batch:
        yield _encoded(batch, tokenizer, name, number)


def _encoded(batch: list[str], tokenizer: DocumentTokenizer, name: str, number: int) -> Ids:
    """Encode a batch whose first document is the split's document `number`."""
    joined = "".join(batch)
    if not tokenizer.inner.spans_characters:
        try:
            ids, unknown = tokenizer.inner.encode_counted(joined)
        except DataError:
            pass  # say below in which document
        else:
            if len(ids) == len(joined):  # a token a character: encode at once, then put the boundaries in
                lengths = np.array([len(document) for document in batch])
                return Ids(_with_boundaries(ids, lengths, tokenizer), unknown, len(joined), utf8_bytes(joined))
    parts = [
        encoded_piece(document, tokenizer.inner, f"{name}, document {number + i}", 0)
        for i, document in enumerate(batch)
    ]
    if tokenizer.boundaries:
        _refuse_boundaries(parts, tokenizer, name, number)
    lengths = np.array([len(part.ids) for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    unknown = sum((part.unknown for part in parts), Counter[str]())
    characters, n_bytes = sum(part.characters for part in parts), sum(part.utf8_bytes for part in parts)
    return Ids(_with_boundaries(ids, lengths, tokenizer), unknown, characters, n_bytes)


def _with_boundaries(ids: np.ndarray, lengths: np.ndarray, tokenizer: DocumentTokenizer) -> np.ndarray:
    """The documents of `lengths` tokens that `ids` joins, each between a start and an end token."""
    ends = np.cumsum(lengths + 2)
    out = np.empty(len(ids) + 2 * len(lengths), tokenizer.dtype)
    is_text = np.ones(len(out), bool)
    for places, token in ((ends - lengths - 2, tokenizer.start), (ends - 1, tokenizer.end)):
        out[places] = token
        is_text[places] = False
    out[is_text] = ids
    return out


def _refuse_boundaries(parts: list[Ids], tokenizer: DocumentTokenizer, name: str, number: int) -> None:
    """Check that no document holds a token that starts or ends one, which a text may spell in a pretrained model."""
    for i, part in enumerate(parts):
        for token, spelling in zip((tokenizer.start, tokenizer.end), tokenizer.names, strict=True):
            if (part.ids == token).any():
                what = f"the text {spelling!r}, which this model takes for a document's boundary"
                fix = "leave it out of the text, or divide the text there by data.documents=separator"
                raise DataError(what, f"{name}, document {number + i}", fix)
