"""A learned vector for each position, added to the token's embedding, as in GPT-2."""

import torch
from torch import Tensor, nn

from microgpt.model.pos.base import Position, PositionConfig, Start, rows


class LearnedConfig(PositionConfig, name="learned"):
    """One trained vector for each of the block_size positions."""

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        return block_size * n_embd

    def build(self, n_embd: int, n_head: int, block_size: int) -> "Learned":
        return Learned(n_embd, block_size)


class Learned(Position):
    """Adds row t of the trained table `wpe`, (block_size, C), to the token at position t."""

    def __init__(self, n_embd: int, block_size: int) -> None:
        super().__init__()
        self.wpe = nn.Embedding(block_size, n_embd)

    def embed(self, x: Tensor, start: Start) -> Tensor:
        return torch.add(x, rows(self.wpe.weight, start, x.shape[1]))  # (B, T, C) + (T, C)
