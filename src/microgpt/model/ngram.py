"""Embeddings of the last two and the last three tokens, by hash: what a small model would spend a layer to learn."""

import torch
from torch import Tensor, nn

from microgpt.model.config import GPTConfig


class NgramEmbedding(nn.Module):
    """Two tables of `ngram_embed` rows. Where vocab_size^2 fits, every pair of tokens has its own row; beyond that
    n-grams share rows, as in fastText (https://arxiv.org/abs/1607.04606)."""

    def __init__(self, config: GPTConfig, vocab_size: int) -> None:
        super().__init__()
        self.base = vocab_size + 1  # 0 stands for what is before the beginning
        self.pairs = nn.Embedding(config.ngram_embed, config.n_embd)
        self.triples = nn.Embedding(config.ngram_embed, config.n_embd)

    def forward(self, ids: Tensor, recent: Tensor | None) -> Tensor:
        """(B, T) tokens, after the (B, <= 2) tokens before them -> (B, T, C)."""
        T = ids.shape[1]
        seen = ids + 1 if recent is None else torch.cat((recent, ids), dim=1) + 1
        seen = nn.functional.pad(seen, (T + 2 - seen.shape[1], 0))  # (B, T + 2)
        pair = seen[:, 1:-1] * self.base + seen[:, 2:]
        triple = seen[:, :-2] * 1_000_003 + pair * 31
        rows = self.pairs.num_embeddings
        y: Tensor = self.pairs(pair % rows) + self.triples(triple % rows)
        return y
