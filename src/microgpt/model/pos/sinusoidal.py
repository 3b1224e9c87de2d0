"""Fixed sines and cosines, added to the token's embedding (Vaswani et al., https://arxiv.org/abs/1706.03762)."""

import math

import torch
from torch import Tensor

from microgpt.config import Positive
from microgpt.model.pos.base import Position, PositionConfig, Start, rows


class SinusoidalConfig(PositionConfig, name="sinusoidal"):
    """Sines and cosines of n_embd / 2 wavelengths, from 2 pi to 2 pi theta tokens."""

    theta: Positive = 10_000.0
    "Base of the wavelengths."
    scale: Positive = 0.03
    "Height of the waves: 0.03 makes them as large as token embeddings initialised with deviation 0.02."

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        return block_size * n_embd

    def build(self, n_embd: int, n_head: int, block_size: int) -> "Sinusoidal":
        return Sinusoidal(n_embd, block_size, self.theta, self.scale)


class Sinusoidal(Position):
    """Adds scale * sin and scale * cos of t theta^(-i / C), for each even i, to channels i and i + 1 at position t."""

    def __init__(self, n_embd: int, block_size: int, theta: float, scale: float) -> None:
        super().__init__()
        self.n_embd, self.block_size, self.theta, self.scale = n_embd, block_size, theta, scale
        self.wave: Tensor  # (block_size, C)
        self.fill_tables()

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        channel = torch.arange(self.n_embd, dtype=torch.float32, device=device)
        frequency = self.theta ** (-(channel - channel % 2) / self.n_embd)
        angle = torch.outer(torch.arange(self.block_size, dtype=torch.float32, device=device), frequency)
        return {"wave": self.scale * torch.sin(angle + math.pi / 2 * (channel % 2))}  # odd channels: the cosine

    def embed(self, x: Tensor, start: Start) -> Tensor:
        return x + rows(self.wave, start, x.shape[1]).to(x.dtype)
