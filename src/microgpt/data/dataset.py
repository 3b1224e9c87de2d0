"""A torch Dataset of a text's windows, for notebooks and DataLoaders. Needs only torch and numpy.

Training uses `windows`, which gathers a batch at once; this is the familiar interface to the same windows.
"""

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from microgpt.errors import DataError, UsageError

_SIGNED = {"uint32": np.int32, "uint64": np.int64}


def as_ids(ids: Any) -> Tensor:
    """Convert indices to a 1-D integer tensor, sharing memory with a writable array whose type torch has.

    Raises:
        UsageError: the indices are not one row of integers.
    """
    if not isinstance(ids, Tensor):
        try:
            array = np.asarray(ids)
        except ValueError as error:  # rows of unequal length
            raise UsageError("lists of unequal lengths", "ids", "pass one row of indices") from error
        if array.size == 0:
            array = array.astype(np.int64)
        if array.dtype.kind not in "iu":
            raise UsageError(f"indices of type {array.dtype}", "ids", "encode the text with a tokenizer first")
        if array.dtype.name in _SIGNED:  # indices fit in the signed type of the same width
            array = array.view(_SIGNED[array.dtype.name])
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    else:
        tensor = ids
    if tensor.dim() != 1 or tensor.is_floating_point() or tensor.is_complex():
        raise UsageError(
            f"a tensor of {tensor.dtype} with shape {tuple(tensor.shape)}", "ids", "pass one row of indices"
        )
    return tensor


def check_length(n_tokens: int, block_size: int, split: str = "text") -> None:
    """Raise DataError if the tokens do not fill one window and its target."""
    if block_size < 1:
        raise UsageError(f"block_size {block_size}", "block_size", "it must be at least 1")
    if n_tokens < block_size + 1:
        raise DataError(
            f"{n_tokens} tokens, but a window takes {block_size + 1} (block_size {block_size} and a target)",
            f"the {split}",
            "take more text, or lower model.block_size",
        )


class TextDataset(Dataset[tuple[Tensor, Tensor]]):
    """Every window of a text: `data[i]` is `(x, y)`, int64 (T,), where y holds the token after each of x.

    Args:
        ids: the text's indices: list, array or tensor, 1-D.
        block_size: T, the length of a window.

    Raises:
        DataError: the text is shorter than a window and its target.
    """

    def __init__(self, ids: Any, block_size: int) -> None:
        self.ids = as_ids(ids)
        self.block_size = block_size
        check_length(len(self.ids), block_size)

    def __len__(self) -> int:
        return len(self.ids) - self.block_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"window {i} of {len(self)}")
        window = self.ids[i % len(self) :][: self.block_size + 1].to(torch.int64)  # (T + 1,)
        return window[:-1].clone(), window[1:].clone()
