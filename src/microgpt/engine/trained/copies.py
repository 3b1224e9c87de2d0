"""Which generated documents are copies of training documents."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from microgpt.data.documents import EncodedDocuments
from microgpt.data.tokenizer import Tokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.store.corpus_file import read_record
from microgpt.engine.trained.training_text import training_corpus
from microgpt.errors import MicrogptError

LIMIT = 64 << 20
"""The largest training text to search, in bytes: reading more takes longer than generating."""


def copies(run: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> list[bool] | None:
    """Whether each text is a document of the run's training split; None if that cannot be known.

    It is known for a model of documents whose training text lies where it was and is not large.
    """
    if not isinstance(tokenizer, DocumentTokenizer):
        return None
    try:
        record = next((found for folder in (run, run.parent) if (found := read_record(folder))), None)
        if record is None or record.bytes is None or record.bytes > LIMIT:
            return None
        train = training_corpus(run, tokenizer).splits["train"]
    except (MicrogptError, OSError):
        return None
    return found_in(train, texts) if isinstance(train, EncodedDocuments) else None


def found_in(documents: EncodedDocuments, texts: Sequence[str]) -> list[bool]:
    """Whether each text is one of the documents."""
    tokenizer = documents.tokenizer.with_unknown("skip")
    encoded = [tokenizer.encode_array(text) if text else np.empty(0, tokenizer.dtype) for text in texts]
    ids, found = documents.ids.numpy(), set[bytes]()
    for length in {len(text) for text in encoded}:
        starts = documents.starts[documents.lengths == length + 2] + 1
        found |= {ids[start : start + length].tobytes() for start in starts.tolist()}
    return [text.astype(ids.dtype).tobytes() in found for text in encoded]
