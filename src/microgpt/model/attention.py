"""Causal self-attention: its weights, and the plain way to compute it. `kernels.attention` has faster ones.

B batch, T tokens, C = n_embd, H heads, H_kv heads of keys and values, D = C / H; Tq queries meet Tk keys, and the
queries are the last Tq of the Tk tokens. A `mask` is (H or 1, Tq, Tk) and is added to the scores; None stands for
the plain causal mask.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microgpt.model.config import GPTConfig
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.kernels.linear import Linear
from microgpt.model.kernels.rms_norm import rms_norm
from microgpt.model.pos.base import Position, Start

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
"""(q, k, v, mask, dropout) -> (B, H, Tq, D)."""


@dataclass(slots=True)
class Context:
    """State that the layers of one forward pass share."""

    ids: Tensor
    "(B, T): the tokens."
    pos: Position
    start: Start
    "Number of tokens before these, in the cache."
    mask: Tensor | None
    attend: Attend
    cache: KVCache | None = None
    probabilities: list[Tensor] | None = None
    "A list to which each layer appends its attention probabilities (B, H, Tq, Tk); None: they are not kept."


def causal_mask(q_len: int, k_len: int, device: torch.device) -> Tensor:
    """(1, Tq, Tk): 0 where a query may attend, -inf in its future."""
    return torch.full((1, q_len, k_len), -math.inf, device=device).triu(k_len - q_len + 1)


def repeat_heads(x: Tensor, n_head: int) -> Tensor:
    """(B, H_kv, T, D) -> (B, H, T, D): repeat each head of keys or values for the queries that share it."""
    return x if x.shape[1] == n_head else x.repeat_interleave(n_head // x.shape[1], dim=1)


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> tuple[Tensor, Tensor]:
    """Attention as the paper writes it (https://arxiv.org/abs/1706.03762); returns its probabilities, too."""
    H, Tq, D = q.shape[1:]
    k, v = repeat_heads(k, H), repeat_heads(v, H)
    if mask is None:
        mask = causal_mask(Tq, k.shape[2], q.device)
    scores = q @ k.mT / math.sqrt(D) + mask  # (B, H, Tq, Tk)
    probabilities = scores.softmax(dim=-1).to(v.dtype)
    return F.dropout(probabilities, dropout) @ v, probabilities


def reference_output(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """The output of `reference` without its probabilities."""
    return reference(q, k, v, mask, dropout)[0]


class Attention(nn.Module):
    """Queries, keys and values from one matrix; heads of keys and values may be fewer than those of queries
    (https://arxiv.org/abs/2305.13245)."""

    def __init__(self, config: GPTConfig, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.layer, self.n_head, self.n_kv_head = layer, config.n_head, config.kv_heads
        self.head_width, self.norm_eps = config.head_width, config.norm_eps
        self.qk_norm, self.dropout = config.qk_norm, config.dropout
        self.qkv = Linear(config.n_embd, (self.n_head + 2 * self.n_kv_head) * self.head_width, bias=config.bias)
        self.out = Linear(config.n_embd, config.n_embd, bias=config.bias)
        has_values = config.value_embed and layer % 2 == 1
        self.value_embed = nn.Embedding(vocab_size, self.n_kv_head * self.head_width) if has_values else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        H, H_kv, D = self.n_head, self.n_kv_head, self.head_width
        heads = self.qkv(x).view(B, T, H + 2 * H_kv, D).transpose(1, 2)  # (B, H + 2 H_kv, T, D)
        q, k, v = heads.split((H, H_kv, H_kv), dim=1)
        if self.value_embed is not None:
            v = v + self.value_embed(context.ids).view(B, T, H_kv, D).transpose(1, 2)
        if self.qk_norm:
            q, k = rms_norm(q, None, self.norm_eps), rms_norm(k, None, self.norm_eps)
        q, k = context.pos.rotate(q, k, context.start)
        if context.cache is not None:
            k, v = context.cache.append(self.layer, k, v)  # (B, H_kv, start + T, D)
            q = q.to(k.dtype)
        dropout = self.dropout if self.training else 0.0
        if context.probabilities is None:
            y = context.attend(q, k, v, context.mask, dropout)
        else:
            y, probabilities = reference(q, k, v, context.mask, dropout)
            context.probabilities.append(probabilities)
        y = self.out(y.transpose(1, 2).reshape(B, T, C).to(x.dtype))
        return F.dropout(y, dropout) if dropout else y
