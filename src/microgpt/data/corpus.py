"""Prepare a corpus: find the text, fit a tokenizer, encode, split. Needs only torch and numpy.

The text is read three times, in pieces: for its hash, its vocabulary and its indices.
"""

import fractions
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from microgpt.data.cache import Cache, cache_folder
from microgpt.data.config import DataConfig
from microgpt.data.dataset import as_ids
from microgpt.data.decoded_text import DecodedText
from microgpt.data.document_format import DocumentFormat
from microgpt.data.document_windows import training_windows
from microgpt.data.documents import Documents, encode_documents
from microgpt.data.encoded_text import EncodedText, code_hash, encode, fit_tokenizer
from microgpt.data.sources import Source, find_source
from microgpt.data.token_files import SUFFIXES, checked_size, read_tokens
from microgpt.data.tokenizer import Tokenizer, Unknown
from microgpt.data.tokenizer.base import PRETRAINED
from microgpt.data.tokenizer.boundaries import boundaries
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.data.tokenizer.ids import IdsTokenizer
from microgpt.data.windows import Windows
from microgpt.errors import DataError, UsageError

CACHED_FROM = 4 << 20  # bytes of text; encoding less is faster than reading the cache
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text, encoded and split. `train`, `val`, `test` are 1-D index tensors; the last two may be empty.

    Attributes:
        name: of the corpus, or the path.
        sha256: of the source's bytes.
        size: of the source, in bytes.
        path: the absolute path, folder or pattern of a text of one's own.
        unknown: counts of the characters outside the vocabulary, which were left out or replaced.
    """

    name: str
    sha256: str
    tokenizer: Tokenizer
    unknown: Counter[str]
    splits: dict[str, EncodedText]
    size: int = 0
    path: str | None = None

    @property
    def train(self) -> Tensor:
        """The training split, at the text's start: (n,)."""
        return self.splits["train"].ids

    @property
    def val(self) -> Tensor:
        """The validation split, after the training split: (n,)."""
        return self.splits["val"].ids

    @property
    def test(self) -> Tensor:
        """The test split, at the text's end: (n,)."""
        return self.splits["test"].ids

    def scored(self, split: str) -> Tensor | EncodedText:
        """A split for `evaluate`: its tokens (n,), or its documents."""
        return self.splits[split].scored

    def windows(self, config: DataConfig, block_size: int, seed: int, **knobs: Any) -> Windows:
        """A run's batches; the knobs are `device` and `stream`, as in `Windows`.

        Raises:
            DataError: the text is shorter than a window and its target.
        """
        within, knobs = config.document_windows == "within", {"sampling": config.sampling, **knobs}
        return training_windows(
            self.splits["train"], within, block_size, batch_size=config.batch_size, seed=seed, **knobs
        )

    def chars_per_token(self, split: str = "val") -> float:
        """Characters per token of a split; 0 when it is empty."""
        return self.splits[split].chars_per_token


def prepare(config: DataConfig, tokenizer: Tokenizer | None = None) -> Corpus:
    """Find, read, encode and split the text that the config names.

    Args:
        tokenizer: a trained model's; None fits one to the text.

    Raises:
        DataError: the text is missing, empty, not in its encoding, or has unknown characters.
        UsageError: there is no such tokenizer, or it comes with a model.
    """
    source = source_of(config)
    is_documents = config.documents is not None or isinstance(tokenizer, DocumentTokenizer)
    if isinstance(tokenizer, IdsTokenizer) or (tokenizer is None and config.tokenizer == IdsTokenizer.name):
        parts = token_parts(config, source, tokenizer)
    else:
        parts = (document_parts if is_documents else text_parts)(config, source, tokenizer)
    path = None if config.path is None else str(Path(config.path).expanduser().absolute())
    splits = dict(zip(SPLITS, parts.splits, strict=True))
    return Corpus(source.name, parts.sha256, parts.tokenizer, parts.unknown, splits, sum(parts.sizes), path)


class Parts(NamedTuple):
    """A source, encoded and split."""

    sha256: str
    sizes: tuple[int, ...]
    tokenizer: Tokenizer
    unknown: Counter[str]
    splits: Sequence[EncodedText]


def text_parts(config: DataConfig, source: Source, tokenizer: Tokenizer | None) -> Parts:
    """A text in three parts: the training split first, the test split last."""
    kind = type(tokenizer) if tokenizer else _chosen(config.tokenizer)
    text = DecodedText.of(source, config.encoding, kind.decoding_errors)
    if text.is_empty:
        raise DataError("an empty text", source.name, "name a file with text in it")
    cache = _cache(config, kind, source, text.sizes)

    shares = config.val_fraction, config.test_fraction
    texts = text.excerpts(split_bounds(len(text), *shares)) if kind.spans_characters else [text]
    tokenizer = tokenizer.with_unknown(config.unknown) if tokenizer else fit_tokenizer(texts[0], kind, config, cache)
    encoded = [encode(part, tokenizer, cache) for part in texts]
    unknown = sum((part.unknown for part in encoded), Counter[str]())
    if not kind.spans_characters:
        (whole,) = encoded
        encoded = [whole.part(*bounds) for bounds in itertools.pairwise(split_bounds(len(whole), *shares))]
    return Parts(text.sha256, text.sizes, tokenizer, unknown, encoded)


def document_parts(config: DataConfig, source: Source, tokenizer: Tokenizer | None) -> Parts:
    """The source's documents, each in one split."""
    form = document_format(config)
    if tokenizer is not None and not isinstance(tokenizer, DocumentTokenizer):
        assert form is not None
        if (pair := boundaries(tokenizer)) is None:
            what = f"data.documents={config.documents} for a model without tokens for a document's start and end"
            raise UsageError(what, "data.documents", "leave it out, or train a model of your own")
        tokenizer = DocumentTokenizer(tokenizer, form, pair)
    kind = type(tokenizer.inner) if tokenizer else _chosen(config.tokenizer)
    form = form or (tokenizer.form if tokenizer else None)
    assert form is not None
    documents = Documents.of(source, config.encoding, kind.decoding_errors, form)
    bounds = split_bounds(len(documents), config.val_fraction, config.test_fraction)
    if bounds[1] == 0:
        what = f"no document to train on: there are {len(documents)} in all (data.documents={form.kind})"
        raise DataError(what, source.name, "take more documents, or data.val_fraction=0")
    cache = _cache(config, kind, source, documents.sizes)
    splits = [documents.split(pair) for pair in itertools.pairwise(bounds)]
    if tokenizer is None:
        learnt_from = splits[0] if kind.spans_characters else documents
        tokenizer = DocumentTokenizer(fit_tokenizer(learnt_from, kind, config, cache), form)
    tokenizer = tokenizer.with_unknown(config.unknown)
    encoded = [encode_documents(part, tokenizer, cache) for part in splits]
    unknown = sum((part.unknown for part in encoded), Counter[str]())
    return Parts(documents.sha256, documents.sizes, tokenizer, unknown, encoded)


def token_parts(config: DataConfig, source: Source, tokenizer: Tokenizer | None) -> Parts:
    """A file of tokens in three parts: the training split first, the test split last."""
    if config.documents is not None:
        raise UsageError("documents of tokens", "data.documents", "leave it out: a file of tokens is one sequence")
    path = Path(config.path).expanduser() if config.path else None
    if path is None or not path.is_file():
        raise DataError("no file of tokens", source.name, f"name one with data.path=: {', '.join(SUFFIXES)}")
    ids = read_tokens(path, config.dtype)
    if tokenizer:
        checked_size(ids, tokenizer.vocab_size, source.name, "name tokens of the model's own vocabulary")
    else:
        fix = "raise data.vocab_size, or null for the largest token's; is data.dtype right?"
        tokenizer = IdsTokenizer(checked_size(ids, config.vocab_size, source.name, fix))
    whole = EncodedText(as_ids(ids), tokenizer, Counter())
    bounds = split_bounds(len(whole), config.val_fraction, config.test_fraction)
    sha256, sizes = source.digest()
    return Parts(sha256, sizes, tokenizer, Counter(), [whole.part(*pair) for pair in itertools.pairwise(bounds)])


def document_format(config: DataConfig) -> DocumentFormat | None:
    """How the config divides its source into documents; None if it does not."""
    if config.documents is None:
        return None
    return DocumentFormat(config.documents, config.separator, config.jsonl_key)


def _cache(config: DataConfig, kind: type[Tokenizer], source: Source, sizes: Sequence[int]) -> Cache:
    """The cache for encoded texts, if encoding takes longer than reading it."""
    takes_long = kind.spans_characters or source.is_packed or sum(sizes) >= CACHED_FROM
    is_usable = takes_long and code_hash(kind) is not None
    return Cache(cache_folder(config.cache_dir) / "encoded" if is_usable else None)


def source_of(config: DataConfig) -> Source:
    """Find the text that the config names, downloading a missing corpus.

    Raises:
        DataError: there is no such text, or its download failed.
    """
    return find_source(config, cache_folder(config.cache_dir) / "corpora")


def read_text_ids(
    path: str, tokenizer: Tokenizer, encoding: str = "utf-8", unknown: Unknown = "error", cache_dir: str | None = None
) -> EncodedText:
    """Encode a whole file, folder or glob in a model's vocabulary, counting unknown characters.

    Raises:
        ConfigError: Python does not know the encoding.
        DataError: as `prepare`.
    """
    config = DataConfig(path=path, encoding=encoding, unknown=unknown, val_fraction=0.0, cache_dir=cache_dir)
    return prepare(config, tokenizer).splits["train"]


def split_bounds(n: int, val_fraction: float, test_fraction: float) -> tuple[int, int, int, int]:
    """The bounds of the three splits. Fractions count as written: 0.1 is a tenth, not the nearest float."""
    val, test = fractions.Fraction(str(val_fraction)), fractions.Fraction(str(test_fraction))
    return 0, math.floor(n * (1 - val - test)), math.floor(n * (1 - test)), n


def _chosen(name: str) -> type[Tokenizer]:
    if name == PRETRAINED:
        fix = "name a model with model.pretrained=..., or take another tokenizer"
        raise UsageError(f"tokenizer {name!r} comes with a model", "data.tokenizer", fix)
    return Tokenizer.named(name, "data.tokenizer")
