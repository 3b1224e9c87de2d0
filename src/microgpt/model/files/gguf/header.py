"""Parse a GGUF header: metadata, and each tensor's format, shape and place.

Nothing in the file is trusted: every count is checked against the bytes that are left before anything is allocated,
tensors must lie inside the file and may not overlap. Every failure is a CheckpointError.
"""

import math
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from microgpt.errors import CheckpointError
from microgpt.model.files.gguf.blocks import FORMATS, OTHERS, NumberFormat
from microgpt.model.files.untrusted import damaged, file_size
from microgpt.text import one_line, shown

MAGIC = b"GGUF"
SCALARS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
"GGUF's number of a scalar type -> numpy's name."
STRING, ARRAY = 8, 9
HEADER_LIMIT = 128 << 20
STRINGS_LIMIT = 1 << 22
"Most strings in an array: a short one takes 8 bytes on disk and 60 in memory."


@dataclass(frozen=True)
class TensorEntry:
    """A tensor's place in the file."""

    format: NumberFormat
    shape: tuple[int, ...]
    "Slowest dimension first, as in torch; the file has it last."
    start: int
    "Offset of its first byte in the file."

    @property
    def size(self) -> int:
        """Number of bytes."""
        return math.prod(self.shape) // self.format.numbers * self.format.size


@dataclass(frozen=True)
class GGUFHeader:
    """What a GGUF file says about itself."""

    path: Path
    metadata: dict[str, Any]
    "Key -> number, bool, string, list of strings, or array of numbers."
    tensors: dict[str, TensorEntry]

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """A metadata value of this type; the default if it is missing.

        Raises:
            CheckpointError: the value has another type.
        """
        value = self.metadata.get(key, default)
        if value is None or type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise damaged(self.path, f"{key[:60]}={shown(value)} is no {kind.__name__}")


def read_header(path: Path) -> GGUFHeader:
    """Read the header of a GGUF file of version 2 or 3.

    Raises:
        CheckpointError: the file is missing, damaged, or of another kind.
    """
    size = file_size(path)
    try:
        with path.open("rb") as file:
            return _Parser(path, file, size).header()
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", str(path), "check its permissions") from None


class _Parser:
    def __init__(self, path: Path, file: BufferedReader, size: int) -> None:
        self.path, self.file, self.size, self.at = path, file, size, 0

    def header(self) -> GGUFHeader:
        if self.take(4) != MAGIC:
            raise CheckpointError("not a GGUF file", str(self.path), "name a .gguf that llama.cpp opens")
        version = self.integer(4)
        if version not in (2, 3):
            what = f"GGUF version {version:#x}" if version < 1 << 16 else "a big-endian GGUF file"
            raise CheckpointError(what, str(self.path), "versions 2 and 3 are read, little-endian: convert it anew")
        n_tensors, n_keys = self.count(24), self.count(12)
        metadata: dict[str, Any] = {}
        for _ in range(n_keys):
            key = self.string(1 << 16)
            if key in metadata:
                raise damaged(self.path, f"the key {shown(key)} stands twice")
            metadata[key] = self.value(self.integer(4))
        entries = [self.tensor() for _ in range(n_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise damaged(self.path, f"an alignment of {shown(alignment)}")
        return GGUFHeader(self.path, metadata, self.placed(entries, -(-self.at // alignment) * alignment, alignment))

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        if n > self.size - self.at:
            raise damaged(self.path, f"its header goes beyond its {self.size:,} bytes")
        if self.at + n > HEADER_LIMIT:
            raise damaged(self.path, f"a header of more than {HEADER_LIMIT:,} bytes")
        data = self.file.read(n)
        if len(data) != n:
            raise damaged(self.path, "it became shorter while it was read")
        self.at += n
        return data

    def integer(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def count(self, least: int) -> int:
        """A number of items that take at least `least` bytes each."""
        n = self.integer(8)
        if n * least > self.size - self.at:
            raise damaged(self.path, f"it announces {n:,} items in {self.size:,} bytes")
        return n

    def string(self, limit: int = HEADER_LIMIT) -> str:
        n = self.integer(8)
        if n > limit:
            raise damaged(self.path, f"a string of {n:,} bytes")
        try:
            return self.take(n).decode()
        except UnicodeDecodeError:
            raise damaged(self.path, f"a string before byte {self.at:,} is no UTF-8") from None

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array(self.integer(4))
        number = self.numbers(kind, 1)[0]
        # The shortest decimal of a float32, so that 1e-5 reads as 1e-5.
        return float(str(number)) if isinstance(number, np.float32) else number.item()

    def array(self, kind: int) -> Any:
        if kind == STRING:
            n = self.count(8)
            if n > STRINGS_LIMIT:
                raise damaged(self.path, f"an array of {n:,} strings")
            return [self.string() for _ in range(n)]
        if kind not in SCALARS:
            raise damaged(self.path, f"an array of type {kind}")
        return self.numbers(kind, self.count(np.dtype(SCALARS[kind]).itemsize))

    def numbers(self, kind: int, n: int) -> np.ndarray:
        if kind not in SCALARS:
            raise damaged(self.path, f"a value of type {kind} before byte {self.at:,}")
        dtype = np.dtype(SCALARS[kind])
        raw = self.take(n * dtype.itemsize)
        return np.frombuffer(raw, np.uint8).astype(bool) if kind == 7 else np.frombuffer(raw, dtype)

    def tensor(self) -> tuple[str, NumberFormat, tuple[int, ...], int]:
        name, n_dims = self.string(1 << 10), self.integer(4)
        if not 1 <= n_dims <= 4:
            raise damaged(self.path, f"{shown(name)} has {n_dims} dimensions")
        shape = struct.unpack(f"<{n_dims}Q", self.take(8 * n_dims))
        kind, offset = self.integer(4), self.integer(8)
        if kind not in FORMATS:
            what = one_line(f"{shown(name)} is of type {OTHERS.get(kind, kind)}")
            fix = f"we read {', '.join(f.name for f in FORMATS.values())}: convert the model with --outtype bf16"
            raise CheckpointError(what, str(self.path), fix)
        format = FORMATS[kind]
        if shape[0] % format.numbers or math.prod(shape) == 0:
            raise damaged(self.path, f"{shown(name)} of type {format.name} has the shape {shape}")
        return name, format, shape[::-1], offset

    def placed(
        self, entries: list[tuple[str, NumberFormat, tuple[int, ...], int]], data: int, alignment: int
    ) -> dict[str, TensorEntry]:
        """The tensors by name, checked to lie inside the file without overlaps."""
        tensors: dict[str, TensorEntry] = {}
        end = data
        for name, format, shape, offset in sorted(entries, key=lambda entry: entry[3]):
            entry = TensorEntry(format, shape, data + offset)
            if name in tensors:
                raise damaged(self.path, f"the tensor {shown(name)} stands twice")
            if offset % alignment or entry.start < end or entry.start + entry.size > self.size:
                raise damaged(self.path, f"{shown(name)} does not lie in the file")
            tensors[name], end = entry, entry.start + entry.size
        return tensors
