"""Rotary position embedding (Su et al., https://arxiv.org/abs/2104.09864)."""

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from microgpt.config import Fault, Positive, Range
from microgpt.model.pos.base import Position, PositionConfig, Start, rows


class RoPEConfig(PositionConfig, name="rope"):
    """Rotate queries and keys by angles proportional to the position, so that scores depend only on the distance."""

    theta: Positive = 10_000.0
    "Base of the wavelengths: pair i of D / 2 turns once in 2 pi theta^(2 i / D) tokens."
    fraction: Annotated[float, Range(above=0, max=1)] = 1.0
    "Share of each head's channels that is rotated, the first ones; GPT-NeoX: 0.25."

    def rotated(self, head_width: int) -> int:
        """The number of channels of a head that are rotated."""
        return int(head_width * self.fraction)

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        return 2 * block_size * self.rotated(n_embd // n_head)

    def build(self, n_embd: int, n_head: int, block_size: int) -> "RoPE":
        return RoPE(self.rotated(n_embd // n_head), block_size, self.theta)

    def check_model(self, n_embd: int, n_head: int, block_size: int) -> Iterator[Fault]:
        width = n_embd // n_head
        rotated = self.rotated(width)
        if self.fraction == 1 and width % 2:
            what = f"rope turns pairs, and the head width n_embd / n_head = {n_embd} / {n_head} = {width} is odd"
            yield Fault("", what, "choose n_embd a multiple of 2 * n_head, or another position scheme")
        elif rotated % 2 or not rotated:
            what = f"rope turns pairs, and fraction {self.fraction:g} of a head width of {width} is {rotated} channels"
            near = math.ceil(max(2, rotated - 1) / width * 1e4) / 1e4
            yield Fault("fraction", what, f"fraction={min(near, 1):g} is a whole number of pairs")


class RoPE(Position):
    """Pair i is (x[i], x[i + D/2]), the layout of Llama's weights as Hugging Face stores them.

    Args:
        width: the number of channels that are rotated, D or fewer; the others pass unchanged.
    """

    def __init__(self, width: int, block_size: int, theta: float) -> None:
        super().__init__()
        self.width, self.block_size, self.theta = width, block_size, theta
        self.cos: Tensor  # (block_size, width)
        self.sin: Tensor  # (block_size, width), the first half negated: see `turn`
        self.fill_tables()

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        pair = torch.arange(0, self.width, 2, dtype=torch.float32, device=device) / self.width
        angle = torch.outer(
            torch.arange(self.block_size, dtype=torch.float32, device=device), self.theta**-pair
        )  # (block_size, width / 2), in radians
        sin = angle.sin()
        return {"cos": angle.cos().repeat(1, 2), "sin": torch.cat((-sin, sin), dim=1)}

    def rotate(self, q: Tensor, k: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        cos, sin = (rows(table, start, q.shape[-2]).to(q.dtype) for table in (self.cos, self.sin))  # (T, width)
        if self.width == q.shape[-1]:
            return turn(q, cos, sin), turn(k, cos, sin)
        w = self.width
        q = torch.cat((turn(q[..., :w], cos, sin), q[..., w:]), dim=-1)
        return q, torch.cat((turn(k[..., :w], cos, sin), k[..., w:]), dim=-1)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), for the halves x1, x2 of the last dimension.

    Rolling by half the width swaps the halves and `sin` supplies the sign, so three operations suffice: their number
    limits the speed of eager decoding.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
