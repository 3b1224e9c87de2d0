"""Read torch's pickled weights without running code: torch's weights-only unpickler, and a plain mapping of tensors."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microgpt.errors import CheckpointError, UsageError
from microgpt.model.files.hf.source import WeightSource
from microgpt.model.files.untrusted import TYPES, Entry, file_size
from microgpt.text import one_line, shown

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
NAMES = {dtype: name for name, (dtype, _) in TYPES.items()}


def load_plain(path: Path, fix: str) -> Any:
    """What torch.save wrote into a file, if it is tensors and plain data.

    Args:
        fix: what to do if it is not.

    Raises:
        UsageError: the environment disables torch's protection.
        CheckpointError: the file is missing, damaged, or would run code.
    """
    if os.environ.get(UNSAFE):
        raise UsageError(f"{UNSAFE} is set, with which a pickle can run code", "the environment", f"unset {UNSAFE}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError("no such file", str(path), fix) from None
    except Exception as error:  # torch raises many kinds, for damaged files and for files that would run code
        what = f"not a file of plain weights ({one_line(error, 150)})"
        raise CheckpointError(what, str(path), fix) from None


def read_pickle(path: Path) -> dict[str, Any]:
    """The mapping in a file that torch.save wrote, if it holds only tensors and plain data.

    Raises:
        UsageError, CheckpointError: as `load_plain`.
    """
    file_size(path)
    content = load_plain(path, "copy it again, or convert it to safetensors where it was made")
    if not isinstance(content, Mapping):
        raise CheckpointError(f"a {type(content).__name__}, not weights by name", str(path))
    return {str(name): value for name, value in content.items()}


class TensorSource(WeightSource):
    """Tensors in memory.

    Raises:
        CheckpointError: a value is no plain tensor.
    """

    def __init__(self, tensors: Mapping[str, Any], place: Path) -> None:
        self.folder = place
        self.tensors: dict[str, Any] = dict(tensors)
        for name, tensor in self.tensors.items():
            if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_quantized:
                raise CheckpointError(f"{shown(name)} is no plain tensor", str(place), "it is no file of weights")
        # A tensor may claim more numbers than its memory holds, by strides of zero.
        self.size = sum(tensor.untyped_storage().nbytes() for tensor in self.tensors.values())
        claimed = sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())
        if claimed > max(4 * self.size, 1 << 20):
            raise CheckpointError(f"tensors of {claimed:,} bytes in {self.size:,}", str(place), "the file is damaged")

    def __getitem__(self, name: str) -> Entry:
        tensor = self.tensors[name]
        return Entry(NAMES.get(tensor.dtype, str(tensor.dtype)), tuple(tensor.shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self.tensors[name].detach().clone()
        return tensor
