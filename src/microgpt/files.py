"""Atomic writes, file hashes and untrusted JSON. Needs only the standard library.

A file or folder is written under a hidden temporary name beside its place, flushed to disk and renamed; then the
parent folder is flushed too. If the process dies at any moment, the path holds the old or the new content, whole, and
the next process that writes in the folder removes what is left under the temporary name.

    write(path, text)                         a small file
    with writing(path) as file:               a stream of bytes, hashed as it is written
        file.write(data)
    with replacing(path) as hidden:           a file that another library writes
        save_file(tensors, hidden)
    with new_folder(path) as hidden:          several files that appear together
        ...

Reading trusts nothing: a JSON file's size, depth and number of lists and objects are limited.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from microgpt.leftovers import HIDDEN, hidden_beside, remove

MAX_DEPTH = 100
"Deepest nesting of lists and objects that JSON may have."
MAX_CONTAINERS = 1_000_000
"Most lists and objects that JSON may have: each takes two bytes on disk and thirty times that in memory."
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


def write(path: Path, content: str | bytes) -> None:
    """Write a file atomically, text as UTF-8.

    Raises:
        OSError: the disk is full or refuses; the old file is untouched.
    """
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path) -> Iterator["HashedFile"]:
    """Open a file for streaming that takes the name `path` when the `with` block ends without an error."""
    with replacing(path) as hidden, HashedFile(hidden) as file:
        yield file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden path beside `path`: the file written there takes the name `path` when the `with` block ends.

    Nested blocks end from the inside out, so inner files take their names first; after a failure no other does.

    Raises:
        OSError: the disk is full or refuses; `path` is unchanged, or the new file if only the last flush failed.
    """
    hidden = hidden_beside(path)
    try:
        yield hidden
        sync(hidden)
        hidden.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, which takes its name with all its files when the `with` block ends.

    `path` must then be absent, or an empty folder.

    Raises:
        OSError: the disk is full or refuses; nothing is left behind.
    """
    hidden = hidden_beside(path)
    try:
        hidden.mkdir(parents=True)
        yield hidden
        for inside in sorted(hidden.rglob("*"), reverse=True):  # files before the folders that hold them
            sync(inside)
        sync(hidden)
        hidden.rename(path)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    sync(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder, renaming it first so that nobody sees it half removed."""
    hidden = hidden_beside(path.with_name(f"removed-{path.name}"))
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the hidden files and folders that killed processes left in `folder`, while nobody writes there."""
    for path in folder.glob(f"{HIDDEN}*"):
        remove(path)


class HashedFile:
    """A new file, hashed while it is written and flushed to disk when the `with` block ends."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, 0
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of the bytes written so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def __enter__(self) -> "HashedFile":
        self._file = self.path.open("xb", buffering=0)
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        view = memoryview(data).cast("B")
        self._sha256.update(view)
        self.size += len(view)
        while len(view):  # a raw write may be partial
            view = view[self._file.write(view) :]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def sync(path: Path) -> None:
    """Flush a file or folder to disk; folders are skipped where the system cannot flush them."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(pieces: Iterable[bytes]) -> str:
    """The SHA-256 of the joined pieces, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def read_capped(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read, or is a folder, a pipe or a device.
        ValueError: it is larger.
    """
    size = path.stat().st_size
    if not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if size <= limit:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        size = len(data)  # it may have grown
    if size > limit:
        raise ValueError(f"{size:,} bytes, more than the {limit:,} that it may have")
    return data


def read_json(path: Path, limit: int, depth: int = MAX_DEPTH, allow_nan: bool = False) -> dict[str, Any]:
    """The object in a JSON file of at most `limit` bytes; see `parse_object`.

    Raises:
        OSError, ValueError: as `read_capped` and `parse_object` do.
    """
    return parse_object(read_capped(path, limit), depth, allow_nan)


def parse_object(data: bytes, depth: int = MAX_DEPTH, allow_nan: bool = False) -> dict[str, Any]:
    """Parse a JSON object strictly: UTF-8, no duplicate keys, at most `depth` levels.

    Args:
        allow_nan: accept NaN and infinities, which Python writes although JSON does not have them.

    Raises:
        ValueError: `data` is not such an object; the message says why without quoting it.
    """
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        raise ValueError("not a JSON object: too many lists")
    constant = float if allow_nan else _no_constant
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=constant)
    except RecursionError:
        raise ValueError("not a JSON object: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object: it is a {type(value).__name__}")
    if _is_deeper(value, depth):
        raise ValueError("not a JSON object: nested too deeply")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        items = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in items if isinstance(item, (dict, list))]
        if not level:
            return False
    return True


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
