"""The number formats of GGUF: how blocks of numbers are laid out, and their dequantization."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class NumberFormat:
    """A number format: blocks of `numbers` numbers in `size` bytes."""

    name: str
    numbers: int
    size: int
    dequantize: Callable[[np.ndarray], np.ndarray] | None = None
    "Convert raw blocks (n, size) of bytes to float32 (n, numbers); None: torch has the type."
    dtype: torch.dtype = torch.float32
    "The type of the numbers once they are read."

    def tensor(self, data: bytearray, shape: tuple[int, ...]) -> Tensor:
        """The tensor that raw bytes stand for."""
        if self.dequantize is None:
            return torch.frombuffer(data, dtype=self.dtype).reshape(shape)
        blocks = np.frombuffer(data, np.uint8).reshape(-1, self.size)
        return torch.from_numpy(self.dequantize(blocks)).reshape(shape)


def halves(blocks: np.ndarray, start: int) -> np.ndarray:
    """The float16 at byte `start` of each block, as float32 (n, 1)."""
    return np.ascontiguousarray(blocks[:, start : start + 2]).view(np.float16).astype(np.float32)


def nibbles(blocks: np.ndarray, start: int) -> np.ndarray:
    """The 32 four-bit numbers from byte `start` of each block: all low halves, then all high ones."""
    packed = blocks[:, start : start + 16]
    return np.concatenate((packed & 0x0F, packed >> 4), axis=1).astype(np.float32)


def dequantize_q8_0(blocks: np.ndarray) -> np.ndarray:
    """A scale and 32 int8 numbers."""
    numbers: np.ndarray = halves(blocks, 0) * np.ascontiguousarray(blocks[:, 2:]).view(np.int8)
    return numbers


def dequantize_q4_0(blocks: np.ndarray) -> np.ndarray:
    """A scale and 32 numbers of 4 bits, from -8."""
    numbers: np.ndarray = halves(blocks, 0) * (nibbles(blocks, 2) - 8)
    return numbers


def dequantize_q4_1(blocks: np.ndarray) -> np.ndarray:
    """A scale, a minimum and 32 numbers of 4 bits."""
    numbers: np.ndarray = halves(blocks, 0) * nibbles(blocks, 4) + halves(blocks, 2)
    return numbers


FORMATS = {
    0: NumberFormat("F32", 1, 4),
    1: NumberFormat("F16", 1, 2, dtype=torch.float16),
    2: NumberFormat("Q4_0", 32, 18, dequantize_q4_0),
    3: NumberFormat("Q4_1", 32, 20, dequantize_q4_1),
    8: NumberFormat("Q8_0", 32, 34, dequantize_q8_0),
    30: NumberFormat("BF16", 1, 2, dtype=torch.bfloat16),
}
"""The formats that we read, by GGUF's number."""
OTHERS = {
    6: "Q5_0", 7: "Q5_1", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS",
    20: "IQ4_NL", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 34: "TQ1_0", 35: "TQ2_0",
    39: "MXFP4",
}  # fmt: skip
"""Names of formats that we do not read, for errors."""
