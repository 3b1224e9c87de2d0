"""corpus.json in a run folder: where the run's text was, and its size and hash."""

import contextlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from microgpt.engine.store import checkpoint
from microgpt.engine.store.run_folder import SUMMARY_LIMIT, write_text
from microgpt.errors import MicrogptError
from microgpt.files import read_json

CORPUS = "corpus.json"
LIMIT = 1 << 16
"Largest size of a corpus.json, in bytes."


@dataclass(frozen=True)
class CorpusRecord:
    """What a run remembers of its text.

    Attributes:
        sha256: of all its bytes.
        bytes: their number; None if the run is older than this record.
        path: the absolute path, folder or pattern; None for a corpus that is known by its name.
    """

    sha256: str
    bytes: int | None = None
    path: str | None = None


def write_record(folder: Path, record: CorpusRecord) -> None:
    """Write the record into a run folder."""
    write_text(folder / CORPUS, json.dumps(asdict(record), indent=2) + "\n")


def read_record(folder: Path) -> CorpusRecord | None:
    """The record of a run folder, which is untrusted; for an older run the hash alone; None if it has none."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        values = read_json(folder / CORPUS, LIMIT)
        record = CorpusRecord(values["sha256"], values["bytes"], values["path"])
        if _is_hash(record.sha256) and type(record.bytes) is int and isinstance(record.path, (str, type(None))):
            return record
    sha256 = _older(folder)
    return CorpusRecord(sha256) if sha256 is not None else None


def _older(folder: Path) -> str | None:
    """The hash that a summary or a checkpoint gives."""
    found: list[object] = []
    with contextlib.suppress(OSError, ValueError):
        found.append(read_json(folder / "summary.json", SUMMARY_LIMIT).get("corpus"))
    for path in checkpoint.checkpoints(folder / "checkpoints"):
        try:
            found.append(checkpoint.manifest(path)["fingerprint"].get("corpus"))
        except MicrogptError:
            continue
    return next((str(value) for value in found if _is_hash(value)), None)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
