"""Encoded texts on disk: found again by the hash of the text and the tokenizer, memory-mapped. Needs numpy alone.

An entry is `<key>.ids`, the raw indices, and `<key>.json`, written last, which describes them. What cannot be read
back whole counts as absent. A folder that cannot be written only means that nothing is kept.
"""

import contextlib
import json
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from microgpt import files
from microgpt.data.tokenizer import Tokenizer, tokenizer_from_dict
from microgpt.errors import CheckpointError

Pieces = Iterable[tuple[np.ndarray, Counter[str]]]
_FORMAT = 1
_JSON_LIMIT = 1 << 26  # bytes


def folder(named: str | None) -> Path:
    """The cache folder: `named`, else $MICROGPT_CACHE, else microgpt in $XDG_CACHE_HOME or ~/.cache."""
    if named := named or os.environ.get("MICROGPT_CACHE"):
        return Path(named).expanduser().absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "microgpt").absolute()
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir(), f"microgpt-{os.getuid()}")


def key(*facts: Any) -> str:
    """A file name made of what an entry depends on."""
    return files.sha256_of([json.dumps([_FORMAT, *facts]).encode()])[:32]


def load_ids(place: Path, name: str, dtype: np.dtype[Any]) -> tuple[np.ndarray, Counter[str]] | None:
    """The entry's indices, memory-mapped, and its count of unknown characters; None when it is absent or damaged."""
    path = place / f"{name}.ids"
    try:
        facts = files.read_json(place / f"{name}.json", _JSON_LIMIT)
        unknown = Counter({chr(int(code)): int(count) for code, count in facts["unknown"].items()})
        if _crc32(path) != facts["crc32"]:
            return None
        # Copy-on-write: torch wants memory that may be written, and the file must stay as it is.
        return np.memmap(path, dtype, mode="c"), unknown
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def save_ids(place: Path, name: str, pieces: Pieces) -> bool:
    """Write an entry piece by piece; False when the disk does not take it."""
    crc32, unknown = 0, Counter[str]()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with files.writing(place / f"{name}.ids") as file:
            for ids, strange in pieces:
                data = ids.data.cast("B")
                crc32 = zlib.crc32(data, crc32)
                unknown += strange
                file.write(data)
        codes = {str(ord(character)): count for character, count in unknown.items()}
        files.write(place / f"{name}.json", json.dumps({"crc32": crc32, "unknown": codes}))
    except OSError:
        return False
    return True


def load_tokenizer(place: Path, name: str) -> Tokenizer | None:
    """A tokenizer that was fitted before; None when it is absent or damaged."""
    try:
        return tokenizer_from_dict(files.read_json(place / f"{name}.tokenizer.json", _JSON_LIMIT))
    except (OSError, ValueError, CheckpointError):
        return None


def save_tokenizer(place: Path, name: str, tokenizer: Tokenizer) -> None:
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        files.write(place / f"{name}.tokenizer.json", json.dumps(tokenizer.to_dict()))


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32
