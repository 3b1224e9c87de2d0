"""Find the text that a run was trained on, and make sure that it is still the same."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from microgpt.data.config import DataConfig
from microgpt.data.corpus import Corpus, prepare, source_of
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.store.config_file import read_config
from microgpt.engine.store.corpus_file import CorpusRecord, read_record
from microgpt.errors import CheckpointError, DataError
from microgpt.text import escaped, one_line

log = logging.getLogger("microgpt")
OTHER = "name a text with --data FILE to score the model on it"


def training_corpus(run: Path, tokenizer: Tokenizer) -> Corpus:
    """Read a run folder's corpus, encoded by the model's own tokenizer.

    Raises:
        CheckpointError: the folder does not record its training corpus.
        DataError: the text is not where it was, or not the same any more.
    """
    folder = next((f for f in (run, run.parent) if (f / "config.yaml").is_file()), None)
    if folder is None:
        fix = "name a text with --data FILE"
        raise CheckpointError("no config.yaml says what it was trained on", str(run), fix)
    config, record = DataConfig.from_dict(data_node(folder / "config.yaml")), read_record(folder)
    if record is None:
        log.warning("warning: %s does not record the hash of its text, which may have changed", escaped(str(folder)))
        return prepare(config, tokenizer)
    return prepare(unchanged(config, record, folder), tokenizer)


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
        fix = "name a text with --data FILE"
        raise CheckpointError(f"no configuration of a run ({one_line(error, 200)})", str(file), fix) from None
    return data
