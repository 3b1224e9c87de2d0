"""Reading JSON and safetensors headers that may come from anyone: sizes are capped, nothing is believed.

Every failure is a CheckpointError. Imports torch for its types alone.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from microgpt import files
from microgpt.errors import CheckpointError
from microgpt.text import one_line

TYPES = {
    "F32": (torch.float32, 4),
    "F16": (torch.float16, 2),
    "BF16": (torch.bfloat16, 2),
    "F64": (torch.float64, 8),
}
"Types of weights: safetensors' name -> torch's, bytes."
HEADER_LIMIT = 1 << 22


class Entry(NamedTuple):
    """A tensor as a safetensors header describes it."""

    dtype: str
    shape: tuple[int, ...]


def damaged(path: Path, what: str) -> CheckpointError:
    """The error for a file that cannot be trusted; what is quoted from it is cut and cannot drive a terminal."""
    return CheckpointError(
        one_line(what), str(path), "the file is damaged or not of this model: copy or make the folder again"
    )


def file_size(path: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        CheckpointError: there is none.
    """
    if not path.is_file():
        state = "not a regular file" if path.exists() or path.is_symlink() else "no such file"
        raise CheckpointError(state, str(path), "give a folder that a run wrote: model.safetensors and two JSON files")
    return path.stat().st_size


def read_json(path: Path, limit: int) -> dict[str, Any]:
    """The object in a JSON file of at most `limit` bytes."""
    file_size(path)
    try:
        return files.read_json(path, limit)
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", str(path), "check its permissions") from None
    except ValueError as error:
        raise damaged(path, str(error)) from None


def read_safetensors_header(path: Path) -> tuple[dict[str, Entry], int]:
    """Name -> entry of every tensor, and the size of the file, which is checked to be that of the tensors."""
    size = file_size(path)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(HEADER_LIMIT, size - 8):
                raise damaged(path, f"a header of {length:,} bytes in a file of {size:,}")
            fields = files.parse_object(file.read(length))
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", str(path), "check its permissions") from None
    except ValueError as error:
        raise damaged(path, f"no safetensors header: {error}") from None
    fields.pop("__metadata__", None)
    header = {name: _entry(name, value, path) for name, value in fields.items()}
    held = sum(math.prod(entry.shape) * TYPES.get(entry.dtype, (None, 1))[1] for entry in header.values())
    if all(entry.dtype in TYPES for entry in header.values()) and size != 8 + length + held:
        raise damaged(path, f"{size:,} bytes, and its header describes {8 + length + held:,}")
    return header, size


def _entry(name: str, value: Any, path: Path) -> Entry:
    if isinstance(value, dict):
        dtype, shape = value.get("dtype"), value.get("shape")
        sizes: list[Any] = shape if isinstance(shape, list) and len(shape) <= 8 else ["no shape"]
        if isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in sizes):
            return Entry(dtype, tuple(sizes))
    raise damaged(path, f"the header's entry for {name[:60]!r} is malformed")
