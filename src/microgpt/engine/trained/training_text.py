"""Find the text that a run was trained on, and make sure that it is still the same."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from microgpt.data.config import DataConfig
from microgpt.data.corpus import Corpus, prepare, read_text_ids, source_of
from microgpt.data.dataset import as_ids
from microgpt.data.encoded_text import EncodedText
from microgpt.data.tokenizer import Tokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.store.config_file import read_config
from microgpt.engine.store.corpus_file import CorpusRecord, read_record
from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.text import did_you_mean, escaped, one_line

log = logging.getLogger("microgpt")
OTHER = "score a text of your own: --data FILE, or run.evaluate(text)"


def training_corpus(run: Path, tokenizer: Tokenizer) -> Corpus:
    """Read a run folder's corpus, encoded by the model's own tokenizer.

    Raises:
        CheckpointError: the folder does not record its training corpus.
        DataError: the text is not where it was, or not the same any more.
    """
    folder = next((f for f in (run, run.parent) if (f / "config.yaml").is_file()), None)
    if folder is None:
        raise CheckpointError("no config.yaml says what it was trained on", str(run), OTHER)
    config, record = DataConfig.from_dict(data_node(folder / "config.yaml")), read_record(folder)
    if record is None:
        log.warning("warning: %s does not record the hash of its text, which may have changed", escaped(str(folder)))
        return prepare(config, tokenizer)
    return prepare(unchanged(config, record, folder), tokenizer)


def read_to_score(text: str | Path | None, split: str, run: Path, tokenizer: Tokenizer) -> EncodedText:
    """What `Run.evaluate` scores: a text, the text at a path, or a split of the run's corpus; its errors."""
    if text is None:
        return split_of(training_corpus(run, tokenizer), split, run)
    if isinstance(text, Path):
        return read_text_ids(str(text), tokenizer, unknown="skip")
    if isinstance(tokenizer, DocumentTokenizer):
        raise UsageError("a text for a model of documents", "evaluate", "give the Path of a file of documents")
    ids, unknown = tokenizer.encode_counted(text)
    return EncodedText(as_ids(ids), tokenizer, unknown)


def split_of(corpus: Corpus, split: str, run: Path) -> EncodedText:
    """A split of a run's corpus.

    Raises:
        UsageError: the corpus has no such split, or there is nothing to score in it.
    """
    if split not in corpus.splits:
        raise UsageError(f"no split {split!r}", str(run), did_you_mean(split, corpus.splits))
    if len(corpus.splits[split]) < 2:
        raise UsageError(f"the run has no {split} split", str(run), OTHER)
    return corpus.splits[split]


def unchanged(config: DataConfig, record: CorpusRecord, folder: Path) -> DataConfig:
    """The config with a path at which the text is the one of training.

    Raises:
        DataError: there is none; says where the text was.
    """
    missing, other = "", ""
    for path in places(config, record):
        try:
            source = source_of(replace(config, path=path))
            sha256, sizes = source.digest()
        except DataError as error:
            missing = missing or error.what
            continue
        if sha256 == record.sha256:
            return replace(config, path=path)
        size = sum(sizes)
        sizes_differ = record.bytes is not None and size != record.bytes
        how = f"{size:,} bytes instead of {record.bytes:,}" if sizes_differ else f"its SHA-256 is now {sha256[:12]}..."
        other = other or f"the text {escaped(source.name)} is not the one that the run was trained on ({how})"
    if other:
        raise DataError(other, escaped(str(folder)), f"put the old text back, or {OTHER}")
    was = escaped(record.path or str(config.path or config.corpus))
    raise DataError(f"the text it was trained on is not at {was} any more ({missing})", escaped(str(folder)), OTHER)


def places(config: DataConfig, record: CorpusRecord) -> Iterator[str | None]:
    """Where the text may be: where it was, or the path as it was typed."""
    if config.path is not None and record.path and record.path != config.path:
        yield record.path
    yield config.path


def data_node(file: Path) -> dict[str, Any]:
    """Read the node `data` of an untrusted config.yaml.

    Raises:
        CheckpointError: the file is not such a config.
    """
    try:
        data = read_config(file).get("data")
        if not isinstance(data, dict):
            raise ValueError("no node data")
    except (OSError, ValueError) as error:
        what = f"no configuration of a run ({one_line(error, 200)})"
        raise CheckpointError(what, str(file), OTHER) from None
    return data
