"""T5's relative position bias: one learned number per head and bucket of distances, shared by all layers
(Raffel et al., https://arxiv.org/abs/1910.10683)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from microgpt.config import Count, Fault
from microgpt.model.pos.base import Position, PositionConfig


class T5Config(PositionConfig, name="t5"):
    """Half of the buckets hold one distance each; the other half hold ranges that widen up to max_distance."""

    num_buckets: Count = 32
    "Number of distances, or ranges of distances, that the bias distinguishes."
    max_distance: Count = 128
    "Distances from here on share the last bucket."

    def check(self) -> Iterator[Fault]:
        if self.max_distance <= self.num_buckets // 2:
            what = f"max_distance {self.max_distance} is not above half of num_buckets {self.num_buckets}"
            yield Fault("max_distance", what, f"raise it above {self.num_buckets // 2} or use fewer buckets")

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        return self.num_buckets * n_head + block_size

    def build(self, n_embd: int, n_head: int, block_size: int) -> "T5":
        return T5(n_head, block_size, self.num_buckets, self.max_distance)


class T5(Position):
    """Adds the trained entry of `table`, (num_buckets, H), for a query and key's distance to their scores."""

    def __init__(self, n_head: int, block_size: int, num_buckets: int, max_distance: int) -> None:
        super().__init__()
        self.block_size, self.num_buckets, self.max_distance = block_size, num_buckets, max_distance
        self.table = nn.Embedding(num_buckets, n_head)
        self.bucket: Tensor  # (block_size,): distance -> bucket
        self.place: Tensor  # (block_size,)
        self.fill_tables()

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        distance = torch.arange(self.block_size, device=device)
        return {"bucket": buckets(distance, self.num_buckets, self.max_distance), "place": distance}

    def bias(self, q_len: int, k_len: int) -> Tensor:
        query, key = self.place[k_len - q_len : k_len, None], self.place[None, :k_len]
        bucket = self.bucket[(query - key).clamp(min=0)]  # (Tq, Tk)
        return self.table.weight[bucket].permute(2, 0, 1)  # (H, Tq, Tk)


def buckets(distance: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance: itself up to num_buckets / 2, then on a logarithmic scale."""
    exact = num_buckets // 2
    if exact == 0:
        return torch.zeros_like(distance)
    octaves = torch.log(distance.clamp(min=exact).float() / exact) / math.log(max_distance / exact)
    spread = exact + (octaves * (num_buckets - exact)).long()
    return torch.where(distance < exact, distance, spread.clamp(max=num_buckets - 1))
