"""Embeddings of the tokens just before each one: what a small model would spend a layer to learn.

Both take what `with_before` gives, for their own reach, and give (B, T, C), to be added to the embedding of the tokens
themselves.
"""

import torch
from torch import Tensor, nn

from microgpt.model.config import GPTConfig
from microgpt.model.generation.kv_cache import KVCache


def with_before(ids: Tensor, reach: int, cache: KVCache | None) -> Tensor:
    """(B, T) tokens -> (B, reach + T): the same after those before them, all counted from 1; 0 stands for what is
    before the beginning. The cache, which holds those before, keeps the last of these for the next."""
    seen = ids + 1
    if cache is None or cache.recent is None:
        seen = nn.functional.pad(seen, (reach, 0))
    else:
        seen = torch.cat((cache.recent, seen), dim=1)
    if cache is not None:
        cache.remember(seen[:, -reach:])
    return seen


class NgramEmbedding(nn.Module):
    """Of the last two and the last three tokens together, by hash: two tables of `ngram_embed` rows. Where
    vocab_size^2 fits, every pair of tokens has its own row; beyond that n-grams share rows, as in fastText
    (https://arxiv.org/abs/1607.04606)."""

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
    """Of each of the last `prev_embed` tokens before, with rows of its own for each distance: a causal convolution over
    the text. It has no room to learn a text by heart, as n-grams have."""

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.reach, self.base = config.prev_embed, vocab_size + 1
        self.rows = nn.Embedding(self.reach * self.base, config.n_embd)

    def forward(self, seen: Tensor) -> Tensor:
        before = seen[:, :-1].unfold(1, self.reach, 1)  # (B, T, reach)
        first_rows = torch.arange(0, self.rows.num_embeddings, self.base, device=seen.device)
        return self.rows(before + first_rows).sum(dim=2)  # type: ignore[no-any-return]
