"""Embeddings of the tokens just before each token, which would cost a small model a layer to learn.

Both modules take the result of `with_before` for their reach and return (B, T, C), to be added to the token embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from microgpt.model.config import GPTConfig
from microgpt.model.generation.kv_cache import KVCache


def with_before(ids: Tensor, reach: int, cache: KVCache | None) -> Tensor:
    """Prepend to (B, T) tokens the `reach` tokens before them: (B, reach + T), counted from 1, with 0 before the text.

    The earlier tokens come from the cache, which then keeps the latest ones for the next call.
    """
    seen = ids + 1
    if cache is None or cache.recent is None:
        seen = nn.functional.pad(seen, (reach, 0))
    else:
        seen = torch.cat((cache.recent, seen), dim=1)
    if cache is not None:
        cache.remember(seen[:, -reach:])
    return seen


class NgramEmbedding(nn.Module):
    """Hashed embeddings of bigrams and trigrams, in two tables of `ngram_embed` rows.

    Every bigram has its own row if the table has vocab_size^2 rows; otherwise n-grams share rows, as in fastText
    (https://arxiv.org/abs/1607.04606).
    """

    reach = 2

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.base = vocab_size + 1
        self.pairs = nn.Embedding(config.ngram_embed, config.n_embd)
        self.triples = nn.Embedding(config.ngram_embed, config.n_embd)

    def forward(self, seen: Tensor) -> Tensor:
        pair = seen[:, 1:-1] * self.base + seen[:, 2:]
        triple = seen[:, :-2] * 1_000_003 + pair * 31
        rows = self.pairs.num_embeddings
        y: Tensor = self.pairs(pair % rows) + self.triples(triple % rows)
        return y


class PreviousEmbedding(nn.Module):
    """Embeddings of the last `prev_embed` tokens, with a table per distance: a causal convolution over the text.
    Unlike n-gram embeddings it has too few weights to memorise a text."""

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.reach, self.base = config.prev_embed, vocab_size + 1
        self.rows = nn.Embedding(self.reach * self.base, config.n_embd)

    def forward(self, seen: Tensor) -> Tensor:
        before = seen[:, :-1].unfold(1, self.reach, 1)  # (B, T, reach)
        first_rows = torch.arange(0, self.rows.num_embeddings, self.base, device=seen.device)
        return self.rows(before + first_rows).sum(dim=2)  # type: ignore[no-any-return]


def add_before(
    x: Tensor, ids: Tensor, modules: Sequence[NgramEmbedding | PreviousEmbedding], cache: KVCache | None
) -> Tensor:
    """Add to x (B, T, C) what the modules make of the tokens before each of (B, T) tokens; x if there are none."""
    if not modules:
        return x
    reach = max(module.reach for module in modules)
    seen = with_before(ids, reach, cache)
    for module in modules:
        x = x + module(seen[:, reach - module.reach :])
    return x
