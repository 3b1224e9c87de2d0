"""A GPT as courses write it, for the benchmarks: every head a module, rotations as complex numbers, norms by hand.

Nothing in it is wrong, and nothing in it is fast: float32, one window at a time from a DataLoader, AdamW as it comes.
"""

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler


class RMSNorm(nn.Module):
    """https://arxiv.org/abs/1910.07467, in four operations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.gain


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions (https://arxiv.org/abs/2104.09864) as complex products; x (B, T, D), turns (T, D / 2)."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[: x.shape[1]]).flatten(-2)


class Head(nn.Module):
    """One head of causal attention."""

    def __init__(self, n_embd: int, width: int, block_size: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(n_embd, width, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        angles = torch.outer(torch.arange(block_size), 10000.0 ** (-torch.arange(0, width, 2) / width))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]
        q, k, v = rotate(self.query(x), self.turns), rotate(self.key(x), self.turns), self.value(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, T, T)
        scores = scores.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        return F.softmax(scores, dim=-1) @ v


class Block(nn.Module):
    """Attention, then an MLP, each added to the stream."""

    def __init__(self, n_embd: int, n_head: int, block_size: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(n_embd, n_embd // n_head, block_size) for _ in range(n_head))
        self.out = nn.Linear(n_embd, n_embd, bias=False)
        widen, narrow = nn.Linear(n_embd, 4 * n_embd, bias=False), nn.Linear(4 * n_embd, n_embd, bias=False)
        self.mlp = nn.Sequential(widen, nn.GELU(), narrow)
        self.norm1, self.norm2 = RMSNorm(n_embd), RMSNorm(n_embd)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.out(torch.cat([head(y) for head in self.heads], dim=-1))
        return x + self.mlp(self.norm2(x))


class NaiveGPT(nn.Module):
    """The reference shape's maths: RMSNorm, rotary positions, GELU, no biases, an untied head."""

    def __init__(self, n_layer: int, n_head: int, n_embd: int, block_size: int, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd)
        self.blocks = nn.Sequential(*(Block(n_embd, n_head, block_size) for _ in range(n_layer)))
        self.norm = RMSNorm(n_embd)
        self.head = nn.Linear(n_embd, vocab_size, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.head(self.norm(self.blocks(self.embedding(x))))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))


class Text(Dataset[tuple[Tensor, Tensor]]):
    """One window at a time."""

    def __init__(self, ids: Tensor, block_size: int) -> None:
        self.ids, self.block_size = ids, block_size

    def __len__(self) -> int:
        return len(self.ids) - self.block_size

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        piece = self.ids[i : i + self.block_size + 1]
        return piece[:-1], piece[1:]


def batches(ids: Tensor, block_size: int, batch_size: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """`count` batches, gathered by torch's DataLoader item by item."""
    data = Text(ids, block_size)
    sampler = RandomSampler(data, replacement=True, num_samples=count * batch_size)
    yield from DataLoader(data, batch_size, sampler=sampler)


def train(model: NaiveGPT, ids: Tensor, block_size: int, batch_size: int, steps: int, device: str) -> float:
    """Train, and return the mean seconds of a step; the first is not counted."""
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for step, (x, y) in enumerate(batches(ids, block_size, batch_size, steps + 1)):
        loss = model(x.to(device), y.to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss.item()
        if step == 0:
            start = time.perf_counter()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps
