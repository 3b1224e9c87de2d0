"""Find a corpus, file, folder or glob and decode it piece by piece. Needs no torch.

Newlines are kept, a byte order mark is dropped, and several files are joined in the order of their names.
"""

import codecs
import contextlib
import difflib
import glob
import io
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from microgpt.data.compressed import decompressed, is_compressed, is_parquet
from microgpt.data.config import DataConfig
from microgpt.data.download import fetch
from microgpt.data.own_output import OwnOutput
from microgpt.data.text_files import texts_among
from microgpt.errors import DataError
from microgpt.files import sha256_of
from microgpt.text import did_you_mean, escaped

CHUNK = 1 << 17  # small enough to stay in the processor's cache between passes


@dataclass(frozen=True)
class Source:
    """A text that can be read repeatedly: its files, or its bytes."""

    name: str
    parts: tuple[Path | bytes, ...]

    @property
    def is_packed(self) -> bool:
        """Whether a part is compressed or a parquet file, so that its size says little about its text's."""
        return any(isinstance(part, Path) and (is_compressed(part) or is_parquet(part)) for part in self.parts)

    def digest(self) -> tuple[str, tuple[int, ...]]:
        """The SHA-256 of all bytes joined, and each part's size."""
        sizes = [0] * len(self.parts)

        def chunks() -> Iterator[bytes]:
            for i, part in enumerate(self.parts):
                for chunk in _chunks(part):
                    sizes[i] += len(chunk)
                    yield chunk

        return sha256_of(chunks()), tuple(sizes)

    def texts(self, encoding: str, errors: str = "strict") -> Iterator[str]:
        """Yield the decoded text, a chunk of a file at a time.

        Raises:
            DataError: a file is unreadable, or not in the encoding (with the byte's offset in the file).
        """
        for part in self.parts:
            yield from decoded(part, encoding, errors)


def find_source(config: DataConfig, downloads: Path) -> Source:
    """Find the text that the config names, downloading a missing corpus into the folder `downloads`.

    Raises:
        DataError: there is no such text, or its download failed.
    """
    if config.path is not None:
        return _own_text(config.path, config.encoding, downloads.parent)
    if config.url is not None:
        path = fetch(config.corpus, config.url, downloads, config.size, config.sha256)
        return Source(config.corpus, (path,))
    if config.tokenizer == "ids":
        fix = "name one with data.path=: .npy, .safetensors or .bin"
        raise DataError("no file of tokens", "data.path", fix)
    if config.corpus not in BUILT_IN:
        fix = f"{did_you_mean(config.corpus, BUILT_IN)}, or give data.url or data.path"
        raise DataError(f"no corpus {config.corpus!r} and no address to download it from", "data.corpus", fix)
    return Source(config.corpus, (BUILT_IN[config.corpus](),))


def python_manual() -> bytes:
    """The text of the language manual that CPython ships: UTF-8, about half a megabyte, sorted by topic."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        fix = "install Python's standard library whole, or train on a file with data.path="
        raise DataError("this Python comes without pydoc_data.topics", "data.corpus", fix) from error
    return "\n".join(topics[name] for name in sorted(topics)).encode()


BUILT_IN: dict[str, Callable[[], bytes]] = {"manual": python_manual}
"""The corpora that need no download."""


def _own_text(name: str, encoding: str, cache: Path) -> Source:
    path = Path(name)
    try:
        path = path.expanduser()
        if path.is_dir():
            files = texts_among(_files_below(path, cache), encoding)
            if not files:
                fix = "name a folder that holds texts, or a single file; what runs write is no corpus"
                raise DataError("no text file", shown_part(path), fix)
            return Source(shown_part(path), tuple(files))
        if path.is_file():
            return Source(shown_part(path), (path,))
        if path.exists():
            raise DataError("neither a file nor a folder", shown_part(path), "name a text with data.path=")
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # the name is too long, access is denied, or the user is unknown
        raise _unreadable(error, path) from error
    if glob.has_magic(name):
        return _matching(str(path), encoding, cache)
    raise _missing(path)


def require_path(name: str) -> None:
    """Raise DataError if a text of one's own does not exist; what a pattern matches is not asked."""
    path = Path(name)
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path = path.expanduser()
        if not path.exists() and not glob.has_magic(name):
            raise _missing(path)


def _missing(path: Path) -> DataError:
    return DataError("no such file or folder", shown_part(path), _near(path))


def _matching(pattern: str, encoding: str, cache: Path) -> Source:
    found = (Path(p) for p in glob.glob(pattern, recursive=True))  # noqa: PTH207  # absolute patterns too
    fixed = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    own = OwnOutput(fixed, cache)
    files = texts_among(sorted((p for p in found if p.is_file() and p not in own), key=Path.as_posix), encoding)
    if not files:
        fix = "quote the pattern, or name a file or folder; what runs write is no corpus"
        raise DataError("no text file matches", shown_part(Path(pattern)), fix)
    return Source(shown_part(Path(pattern)), tuple(files))


def _files_below(folder: Path, cache: Path) -> list[Path]:
    """The regular files below a folder that are not hidden and that no run wrote, sorted by relative path."""
    files, own = [], OwnOutput(folder, cache)
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(root, name) not in own]
        files += [path for name in names if not name.startswith(".") and (path := Path(root, name)) not in own]
    return sorted((p for p in files if p.is_file()), key=lambda p: p.relative_to(folder).as_posix())


def _near(path: Path) -> str:
    """A suggestion for a missing path."""
    try:
        names = [p.name for p in path.parent.iterdir()]
    except OSError:
        return f"its folder is missing too; relative paths start at {Path.cwd()}"
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {str(path.with_name(near[0]))!r}?" if near else f"relative paths start at {Path.cwd()}"


def _open(part: Path | bytes) -> BinaryIO:
    if isinstance(part, bytes):
        return io.BytesIO(part)
    try:
        return part.open("rb", buffering=0)
    except OSError as error:
        raise _unreadable(error, part) from error


def _chunks(part: Path | bytes) -> Iterator[bytes]:
    with _open(part) as file:
        while True:
            try:
                chunk = file.read(CHUNK)
            except OSError as error:
                raise _unreadable(error, part) from error
            if not chunk:
                return
            yield chunk


def _text_chunks(part: Path | bytes) -> Iterator[bytes]:
    """The bytes of a part's text, decompressed."""
    if isinstance(part, bytes) or not is_compressed(part):
        yield from _chunks(part)
        return
    try:
        yield from decompressed(part, CHUNK)
    except OSError as error:
        raise _unreadable(error, part) from error


def decoded(part: Path | bytes, encoding: str, errors: str) -> Iterator[str]:
    """Yield a file's text, a chunk at a time.

    Raises:
        DataError: the file is unreadable, or not in the encoding.
    """
    if is_parquet(part):
        fix = "data.documents=jsonl reads the column data.jsonl_key=, a document a row"
        raise DataError("a parquet file is no text", shown_part(part), fix)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    read, at_start = 0, True

    def decode(chunk: bytes, final: bool = False) -> str:
        try:
            return decoder.decode(chunk, final)
        except UnicodeError as error:
            raise _undecodable(error, part, encoding, read) from error

    for chunk in _text_chunks(part):
        read += len(chunk)
        text = decode(chunk)
        if at_start and text:
            text, at_start = text.removeprefix("\ufeff"), False
        if text:
            yield text
    if rest := decode(b"", final=True):
        yield rest


def _undecodable(error: UnicodeError, part: Path | bytes, encoding: str, read: int) -> DataError:
    where, fix = shown_part(part), "name the file's encoding with data.encoding="
    if not isinstance(error, UnicodeDecodeError):  # a missing byte order mark
        fix = "name the encoding with its byte order, for example data.encoding=utf-16-le"
        return DataError(f"not {encoding} ({error})", where, fix)
    # error.object holds bytes left over from earlier chunks and this chunk, and ends at byte `read` of the file.
    offset = read - len(error.object) + error.start
    if codecs.lookup(encoding).name in ("utf-8", "ascii"):
        fix = "name the file's encoding, for example data.encoding=latin-1"
    byte = error.object[error.start]
    return DataError(f"byte 0x{byte:02x} at offset {offset} is not {encoding} ({error.reason})", where, fix)


def _unreadable(error: Exception, path: Path | bytes) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DataError(f"cannot read: {reason}", shown_part(path), "check the path and its permissions")


def shown_part(path: Path | bytes) -> str:
    """A part's name, safe to print."""
    return escaped(str(path)) if isinstance(path, Path) else "the corpus"
