"""Fitted tokenizers and encoded texts on disk, keyed by a hash of everything they depend on. Needs only numpy.

A damaged entry counts as absent. If the folder cannot be written, nothing is kept and nothing fails.
"""

import json
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from microgpt import files
from microgpt.data.tokenizer import Tokenizer, tokenizer_from_dict
from microgpt.errors import CheckpointError

_FORMAT = 2
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, CheckpointError)
Made = TypeVar("Made", contravariant=True)
Kept = TypeVar("Kept", covariant=True)
_JSON_LIMIT = 1 << 26  # bytes


class Ids(NamedTuple):
    """A text's indices, the counts of its unknown characters, and its size without those that were left out."""

    ids: np.ndarray
    unknown: Counter[str]
    characters: int
    utf8_bytes: int


class Entry(Protocol[Made, Kept]):
    """The files in the cache's folder that hold one value."""

    def write(self, folder: Path, made: Made) -> None:
        """Write the value; the folder may be missing.

        Raises:
            OSError: the disk is full or refuses.
        """

    def read(self, folder: Path) -> Kept:
        """Read the value back; any of the errors in `_DAMAGE` means that it is missing or damaged."""


class Cache:
    """A folder of entries.

    Args:
        folder: created when missing; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, entry: Entry[Any, Kept]) -> Kept | None:
        """The stored value; None if it is absent or damaged."""
        try:
            return None if self.folder is None else entry.read(self.folder)
        except _DAMAGE:
            return None

    def put(self, entry: Entry[Made, Any], made: Made) -> bool:
        """Store the value; False if there is no folder or the disk refuses."""
        try:
            if self.folder is not None:
                entry.write(self.folder, made)
            return self.folder is not None
        except OSError:
            return False


@dataclass(frozen=True)
class TokenizerEntry:
    """A fitted tokenizer, in `<key>.tokenizer.json`."""

    key: str

    def write(self, folder: Path, made: Tokenizer) -> None:
        """Write its `to_dict` as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        files.write(folder / f"{self.key}.tokenizer.json", json.dumps(made.to_dict()))

    def read(self, folder: Path) -> Tokenizer:
        """Build the tokenizer from its JSON, under the policy "error" for unknown characters."""
        return tokenizer_from_dict(files.read_json(folder / f"{self.key}.tokenizer.json", _JSON_LIMIT))


@dataclass(frozen=True)
class IdsEntry:
    """An encoded text: raw indices in `<key>.ids`, and their checksum and the rest of `Ids` in `<key>.json`.

    Attributes:
        dtype: of each index.
    """

    key: str
    dtype: np.dtype[Any]

    def write(self, folder: Path, made: Iterable[Ids]) -> None:
        """Write the indices piece by piece, and the JSON last: without it nothing can be read."""
        crc32, unknown, sizes = 0, Counter[str](), np.zeros(2, np.int64)
        folder.mkdir(parents=True, exist_ok=True)
        with files.writing(folder / f"{self.key}.ids") as file:
            for piece in made:
                data = piece.ids.data.cast("B")
                crc32 = zlib.crc32(data, crc32)
                unknown += piece.unknown
                sizes += piece.characters, piece.utf8_bytes
                file.write(data)
        codes = {str(ord(character)): count for character, count in unknown.items()}
        facts = {"crc32": crc32, "unknown": codes, "sizes": sizes.tolist()}
        files.write(folder / f"{self.key}.json", json.dumps(facts))

    def read(self, folder: Path) -> Ids:
        """What was written, the indices (n,) memory-mapped, once their CRC-32 is checked.

        Raises:
            OSError, ValueError, KeyError: a file is missing or damaged.
        """
        path = folder / f"{self.key}.ids"
        facts = files.read_json(folder / f"{self.key}.json", _JSON_LIMIT)
        unknown = Counter({chr(int(code)): int(count) for code, count in facts["unknown"].items()})
        if _crc32(path) != facts["crc32"]:
            raise ValueError("not the indices that were written")
        characters, utf8_bytes = map(int, facts["sizes"])
        # Copy-on-write: torch requires writable memory, and the file must not change.
        return Ids(np.memmap(path, self.dtype, mode="c"), unknown, characters, utf8_bytes)


def cache_folder(named: str | None) -> Path:
    """The folder for downloads and entries: `named`, else $MICROGPT_CACHE, else microgpt in $XDG_CACHE_HOME or
    ~/.cache."""
    if named := named or os.environ.get("MICROGPT_CACHE"):
        return Path(named).expanduser().absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "microgpt").absolute()
    except RuntimeError:  # a user without a home
        user = os.getuid() if hasattr(os, "getuid") else 0  # on Windows each user has a temporary folder
        return Path(tempfile.gettempdir(), f"microgpt-{user}")


def key(*facts: Any) -> str:
    """A file name derived from everything an entry depends on."""
    return files.sha256_of([json.dumps([_FORMAT, *facts]).encode()])[:32]


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32
