"""Texts compressed with gzip or zstd, and columns of parquet files, read piece by piece.

Needs only the standard library for gzip; zstd needs the extra `zstd`, parquet the extra `parquet`.
"""

import gzip
import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from microgpt.errors import DataError
from microgpt.extras import package
from microgpt.text import escaped, one_line, shown

SUFFIXES = (".gz", ".zst")
PARQUET = ".parquet"
_ZSTD_INPUT = 1 << 12  # bytes of a frame to decompress at once: little input can be much output
_ROWS = 256


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def is_parquet(path: object) -> bool:
    """Whether a part of a source is a parquet file, by its suffix."""
    return isinstance(path, Path) and path.suffix.lower() == PARQUET


def decompressed(path: Path, size: int) -> Iterator[bytes]:
    """Yield a compressed file's bytes, about `size` at a time.

    Raises:
        OSError: the file is unreadable, damaged or cut off.
        MachineError: the package for zstd is not installed.
    """
    if path.suffix.lower() == ".zst":
        yield from _zstd(path)
        return
    try:
        with gzip.open(path) as file:
            while chunk := file.read(size):
                yield chunk
    except (EOFError, zlib.error) as error:
        raise OSError(f"damaged gzip data ({error})") from error


def rows(path: Path, column: str) -> Iterator[str]:
    """Yield the texts of a parquet file's column, a few hundred rows in memory at a time; missing ones are empty.

    Raises:
        DataError: the file is no parquet file, or has no such column of texts.
        MachineError: pyarrow is not installed.
    """
    arrow, name = package("pyarrow", "parquet", "this file"), escaped(str(path))
    parquet = importlib.import_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            texts = [f.name for f in file.schema_arrow if arrow.types.is_string(f.type) or _is_large(arrow, f.type)]
            if column not in texts:
                fix = f"choose data.jsonl_key among {shown(texts)}" if texts else "name a file with a column of texts"
                raise DataError(f"no column of texts {shown(column)}", name, fix)
            for batch in file.iter_batches(batch_size=_ROWS, columns=[column]):
                yield from (text or "" for text in batch.column(0).to_pylist())
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"no parquet file ({one_line(error, 150)})", name, "write the file again") from None


def _is_large(arrow: Any, kind: Any) -> bool:
    return bool(arrow.types.is_large_string(kind))


def _zstd(path: Path) -> Iterator[bytes]:
    zstandard = package("zstandard", "zstd", "this file")
    try:
        with path.open("rb") as file:
            frame, is_open = zstandard.ZstdDecompressor().decompressobj(), False
            while data := file.read(_ZSTD_INPUT):
                while data:
                    piece, is_open = frame.decompress(data), True
                    if piece:
                        yield piece
                    data = b""
                    if frame.eof:  # another frame may follow
                        data, is_open = frame.unused_data, False
                        frame = zstandard.ZstdDecompressor().decompressobj()
            if is_open:
                raise OSError("damaged zstd data (the file ends within it)")
    except zstandard.ZstdError as error:
        raise OSError(f"damaged zstd data ({error})") from error
