"""One layer: attention, then the MLP, each normalised first and added to the stream."""

import torch
from torch import Tensor, nn

from microgpt.model.attention import Attention, Context
from microgpt.model.config import GPTConfig
from microgpt.model.mlp import MLP
from microgpt.model.norm import Norm


class Block(nn.Module):
    """Pre-norm residual block, (B, T, C) -> (B, T, C)."""

    def __init__(self, config: GPTConfig, layer: int, vocab_size: int) -> None:
        super().__init__()
        self.norm1 = Norm(config.n_embd, config)
        self.attn = Attention(config, layer, vocab_size)
        self.norm2 = Norm(config.n_embd, config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        x = x + self.attn(self.norm1(x), context)
        return torch.add(x, self.mlp(self.norm2(x)))
