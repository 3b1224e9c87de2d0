"""Rotary position embedding (Su et al., https://arxiv.org/abs/2104.09864)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from microgpt.config import Fault, Positive
from microgpt.model.pos.base import Position, PositionConfig, Start, rows


class RoPEConfig(PositionConfig, name="rope"):
    """Rotate queries and keys by angles proportional to the position, so that scores depend only on the distance."""

    theta: Positive = 10_000.0
    "Base of the wavelengths: pair i of D / 2 turns once in 2 pi theta^(2 i / D) tokens."

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        return 2 * block_size * (n_embd // n_head)

    def build(self, n_embd: int, n_head: int, block_size: int) -> "RoPE":
        return RoPE(n_embd // n_head, block_size, self.theta)

    def check_model(self, n_embd: int, n_head: int, block_size: int) -> Iterator[Fault]:
        width = n_embd // n_head
        if width % 2:
            what = f"rope turns pairs, and the head width n_embd / n_head = {n_embd} / {n_head} = {width} is odd"
            yield Fault("", what, "choose n_embd a multiple of 2 * n_head, or another position scheme")


class RoPE(Position):
    """Pair i is (x[i], x[i + D/2]), the layout of Llama's weights as Hugging Face stores them."""

    def __init__(self, head_width: int, block_size: int, theta: float) -> None:
        super().__init__()
        self.head_width, self.block_size, self.theta = head_width, block_size, theta
        self.cos: Tensor  # (block_size, D)
        self.sin: Tensor  # (block_size, D), the first half negated: see `rotate`
        self.fill_tables()

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        pair = torch.arange(0, self.head_width, 2, dtype=torch.float32, device=device) / self.head_width
        angle = torch.outer(
            torch.arange(self.block_size, dtype=torch.float32, device=device), self.theta**-pair
        )  # (block_size, D/2), in radians
        sin = angle.sin()
        return {"cos": angle.cos().repeat(1, 2), "sin": torch.cat((-sin, sin), dim=1)}

    def rotate(self, q: Tensor, k: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        cos, sin = (rows(table, start, q.shape[-2]).to(q.dtype) for table in (self.cos, self.sin))  # (T, D)
        return turn(q, cos, sin), turn(k, cos, sin)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), for the halves x1, x2 of the last dimension.

    Rolling by half the width swaps the halves and `sin` supplies the sign, so three operations suffice: their number
    limits the speed of eager decoding.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
