"""Files of tokens: .npy, .safetensors and raw .bin, memory-mapped and checked. Needs only numpy."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from microgpt.data.tokenizer.ids import LARGEST
from microgpt.errors import DataError
from microgpt.text import escaped, one_line

SUFFIXES = (".npy", ".bin", ".safetensors")
_AT_ONCE = 1 << 22
_HEADER_LIMIT = 1 << 20
_SAFETENSORS = {"U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
                "I64": "<i8"}  # fmt: skip


def read_tokens(path: Path, dtype: str) -> np.ndarray:
    """Map a file of tokens into memory: integers (n,), of the file's type.

    Args:
        dtype: of each number in a .bin file; the other formats say it themselves.

    Raises:
        DataError: the file holds no row of integers.
    """

    def raw(path: Path) -> np.ndarray:
        return _raw(path, dtype)

    readers = {".npy": _npy, ".safetensors": _safetensors, ".bin": raw}
    name = escaped(str(path))
    if path.suffix.lower() not in readers:
        raise DataError(f"no file of tokens: {path.suffix or 'no suffix'}", name, f"name one of {', '.join(SUFFIXES)}")
    try:
        array = readers[path.suffix.lower()](path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, OverflowError) as error:
        raise DataError(f"no array of tokens ({one_line(error, 150)})", name, "write the file again") from None
    if array.dtype.kind not in "iu":
        raise DataError(f"numbers of type {array.dtype}", name, "save integers: ids.astype('int32')")
    if array.dtype.byteorder == ">":
        raise DataError("big-endian numbers", name, "save them as ids.astype('<i4')")
    if array.ndim != 1:
        raise DataError(f"an array of shape {array.shape}", name, "save one row: ids.reshape(-1)")
    if not array.size:
        raise DataError("no tokens", name, "save a row of integers")
    return array


def checked_size(ids: np.ndarray, size: int | None, where: str, fix: str) -> int:
    """The vocabulary's size: `size`, or the largest token and one.

    Args:
        where: the file.
        fix: what to do about a token that is too large.

    Raises:
        DataError: a token is outside the vocabulary; says the first.
    """
    limit, largest = LARGEST if size is None else size, 0
    for low in range(0, len(ids), _AT_ONCE):
        part = ids[low : low + _AT_ONCE]
        if int(part.min()) < 0:
            place = int(np.flatnonzero(part < 0)[0])
            raise DataError(f"token {part[place]} at position {low + place} is negative", where, "tokens begin at 0")
        if int(part.max()) >= limit:
            place = int(np.flatnonzero(part >= limit)[0])
            what = f"token {part[place]} at position {low + place} is outside the vocabulary of {limit:,}"
            raise DataError(what, where, fix)
        largest = max(largest, int(part.max()))
    return size or largest + 1


def _npy(path: Path) -> np.ndarray:
    # An empty array cannot be mapped, and copy-on-write is what torch takes.
    array: Any = np.load(path, mmap_mode="c" if path.stat().st_size > 4096 else None, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("an archive of arrays")
    return array


def _raw(path: Path, dtype: str) -> np.ndarray:
    kind, size = np.dtype(dtype).newbyteorder("<"), path.stat().st_size
    if size % kind.itemsize:
        raise ValueError(f"{size} bytes are no whole number of {dtype}; data.dtype= says which type it is")
    return np.memmap(path, kind, mode="c") if size else np.empty(0, kind)


def _safetensors(path: Path) -> np.ndarray:
    """The only tensor of the file; https://huggingface.co/docs/safetensors describes the format."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(size, _HEADER_LIMIT):
            raise ValueError("no header of a .safetensors file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("no header of a .safetensors file")
    tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
    if len(tensors) != 1:
        raise ValueError(f"{len(tensors)} tensors, where one is needed")
    (facts,) = tensors.values()
    begin, end = map(int, facts["data_offsets"])
    shape, kind = [int(n) for n in facts["shape"]], np.dtype(_SAFETENSORS.get(facts["dtype"], "V1"))
    if kind.kind == "V":
        raise ValueError(f"numbers of type {facts['dtype']}, where integers are needed")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if min([begin, end, *shape]) < 0 or end - begin != count * kind.itemsize or 8 + length + end > size:
        raise ValueError("the header does not fit the file")
    if not count:
        return np.empty(shape, kind)
    return np.memmap(path, kind, mode="c", offset=8 + length + begin, shape=tuple(shape))
