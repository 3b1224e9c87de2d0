"""Download a corpus once, over https, and check its size and hash before it gets its name. Needs no torch."""

import http.client
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from microgpt import files, streams
from microgpt.errors import DataError
from microgpt.text import mb

Opener = Callable[[str], AbstractContextManager[Any]]
"""Opens an address as `urllib.request.urlopen` does."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0  # seconds without a byte
_LARGEST = 1 << 32  # bytes, for a download of unknown size
_FAILURES = (
    OSError,
    http.client.HTTPException,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def fetch(
    name: str, url: str, folder: Path, size: int | None, sha256: str | None, opener: Opener | None = None
) -> Path:
    """The path of a corpus's text, downloaded into `folder` if missing.

    Args:
        url: of the text, or of a .zip archive with the text as its only file.
        size, sha256: of the text, in bytes and hexadecimal digits; None skips the check.
        opener: opens the address; the default accepts only https.

    Raises:
        DataError: the download failed, or its size or hash is wrong; then no file has the corpus's name.
    """
    # The name includes the address: a corpus of the same name from elsewhere is another file.
    place = folder / f"{name}-{files.sha256_of([url.encode()])[:8]}.txt"
    by_hand = f"put the text there by hand as {place}, or train on a file of your own with data.path="
    if place.is_file():
        if fault := _fault(place, size, sha256):
            raise DataError(f"{name} {fault}", str(place), "remove the file and it is downloaded again")
        return place
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.replacing(place) as text:
            _download(name, url, text, size, opener or _https)
            if fault := _fault(text, size, sha256):
                raise DataError(f"{name} {fault}", url, by_hand)
    except _FAILURES as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise DataError(f"cannot download {name} ({getattr(error, 'reason', None) or error})", url, by_hand) from error
    return place


def _download(name: str, url: str, text: Path, size: int | None, opener: Opener) -> None:
    zipped = urllib.parse.urlsplit(url).path.endswith(".zip")
    with tempfile.TemporaryFile(dir=text.parent) if zipped else text.open("wb") as raw:
        with opener(url) as response:
            announced = response.headers.get("Content-Length", "")
            total = int(announced) if announced.isdigit() else None
            got = _copy(response, raw, size or _LARGEST, _Progress(name, total))
        if total is not None and got < min(total, size or _LARGEST):
            raise EOFError(f"the connection ended after {got} of {total} bytes")
        if zipped:
            _unpack(raw, text, size or _LARGEST)


def _unpack(raw: IO[bytes], text: Path, most: int) -> None:
    """Extract an archive's only file to `text`."""
    with zipfile.ZipFile(raw) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise zipfile.BadZipFile(f"{len(members)} files in the archive where one is expected")
        with archive.open(members[0]) as packed, text.open("wb") as file:
            _copy(packed, file, most)


class _Progress:
    """A line on stderr: updated during the download on a terminal, else printed once."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.shown = name, total, 0.0
        self.live = streams.is_terminal(sys.stderr)
        if not self.live:
            streams.warn(f"downloading {name}{self._of()}")

    def _of(self) -> str:
        return f" of {mb(self.total, 1)}" if self.total else ""

    def update(self, got: int, done: bool = False) -> None:
        if self.live and (done or time.monotonic() - self.shown > 0.2):
            self.shown = time.monotonic()
            end = "\n" if done else ""
            amount = f"{got / 1e6:.1f}{self._of()}" if self.total else mb(got, 1)
            streams.warn(f"\rdownloading {self.name}: {amount}", end)


def _copy(source: IO[bytes], target: IO[bytes], most: int, progress: _Progress | None = None) -> int:
    """Copy at most `most` + 1 bytes, the last one to reveal an excess; return the number copied."""
    got = 0
    while got <= most and (chunk := source.read(min(_CHUNK, most + 1 - got))):
        target.write(chunk)
        got += len(chunk)
        if progress:
            progress.update(got)
    if progress:
        progress.update(got, done=True)
    return got


def _fault(path: Path, size: int | None, sha256: str | None) -> str:
    """The fault in a file's size or hash; empty if both are right."""
    actual = path.stat().st_size
    if size is not None and actual != size:
        return (
            f"has {actual} bytes or more where {size} are right" if actual > size else f"has {actual} bytes, not {size}"
        )
    if sha256 is not None:
        found = files.sha256(path)
        if found != sha256:
            return f"has the SHA-256 {found[:16]}..., not {sha256[:16]}..."
    return ""


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith("https://"):
            raise OSError(f"it leads to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _https(url: str) -> AbstractContextManager[Any]:
    if not url.startswith("https://"):
        raise OSError("it is not https")
    request = urllib.request.Request(url, headers={"User-Agent": "microgpt"})
    response: AbstractContextManager[Any] = urllib.request.build_opener(_HttpsOnly).open(request, timeout=_TIMEOUT)
    return response
