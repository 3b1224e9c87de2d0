"""Which files of a folder are texts. Needs only the standard library."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from microgpt.data.compressed import decompressed, is_compressed, is_parquet

_NOT_TEXT = re.compile(
    r"\.(7z|avi|bin|bmp|bz2|ckpt|docx|epub|gif|gz|ico|jpe?g|mobi|mp3|mp4|npy|npz|odt|ogg|parquet|pdf|pickle|pkl|png|pth?|"
    r"pyc|safetensors|so|sqlite|tar|tiff?|wav|webp|xlsx|xz|zip|zst)",
    re.IGNORECASE,
)
_SNIFFED = 8000


def texts_among(paths: Sequence[Path], encoding: str) -> list[Path]:
    """The texts among the files; compressed ones and parquet files count where there are no plain ones."""
    readable = [path for path in paths if os.access(path, os.R_OK)]
    plain = [path for path in readable if is_text(path, encoding)]
    return plain or [path for path in readable if is_parquet(path) or holds_text(path, encoding)]


def is_text(path: Path, encoding: str) -> bool:
    """Whether a file is text, by its suffix and git's rule: no NUL near its start, unless the encoding has them.

    Raises:
        OSError: the file is unreadable.
    """
    if _NOT_TEXT.fullmatch(path.suffix):
        return False
    with path.open("rb", buffering=0) as file:
        return _looks_like_text(file.read(_SNIFFED), encoding)


def holds_text(path: Path, encoding: str) -> bool:
    """Whether a file is a compressed text. A damaged one is: reading it will say so."""
    if not is_compressed(path) or _NOT_TEXT.fullmatch(Path(path.stem).suffix):
        return False
    try:
        start = next(decompressed(path, _SNIFFED), b"")
    except OSError:
        return True
    return _looks_like_text(start[:_SNIFFED], encoding)


def _looks_like_text(start: bytes, encoding: str) -> bool:
    return bool(start) and (b"\0" in "a".encode(encoding) or b"\0" not in start)
