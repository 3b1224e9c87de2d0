"""Attention with linear biases (Press et al., https://arxiv.org/abs/2108.12409)."""

import math

import torch
from torch import Tensor

from microgpt.model.pos.base import Position, PositionConfig


class ALiBiConfig(PositionConfig, name="alibi"):
    """Lower each score in proportion to the distance, with a separate slope per head."""

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        return block_size

    def build(self, n_embd: int, n_head: int, block_size: int) -> "ALiBi":
        return ALiBi(n_head, block_size)


class ALiBi(Position):
    """Adds -slope * distance to the scores: a bias (H, Tq, Tk), 0 where a query meets its own key."""

    def __init__(self, n_head: int, block_size: int) -> None:
        super().__init__()
        self.n_head, self.block_size = n_head, block_size
        self.slope: Tensor  # (H, 1, 1)
        self.place: Tensor  # (block_size,)
        self.fill_tables()

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        place = torch.arange(self.block_size, dtype=torch.float32, device=device)
        return {"slope": slopes(self.n_head, device)[:, None, None], "place": place}

    def bias(self, q_len: int, k_len: int) -> Tensor:
        query, key = self.place[k_len - q_len : k_len, None], self.place[None, :k_len]
        return self.slope * (key - query)  # (H, Tq, Tk)


def slopes(n_head: int, device: torch.device | None = None) -> Tensor:
    """(H,): a geometric series that ends at 2^-8. If H is not a power of two, every other slope of the next power is
    added, as in the paper's code."""
    base = 2 ** math.floor(math.log2(n_head))
    regular = 2.0 ** (torch.arange(1, base + 1, dtype=torch.float32, device=device) * (-8 / base))
    between = 2.0 ** (torch.arange(1, 2 * base + 1, 2, dtype=torch.float32, device=device) * (-4 / base))
    return torch.cat((regular, between[: n_head - base]))
