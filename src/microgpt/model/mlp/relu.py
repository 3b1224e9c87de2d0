"""Rectified linear units, as in the original Transformer (Vaswani et al., https://arxiv.org/abs/1706.03762)."""

from torch import Tensor
from torch.nn import functional as F

from microgpt.model.mlp.base import MLP, MLPConfig


class ReLUConfig(MLPConfig, name="relu"):
    """Keep positive numbers and zero the rest."""

    matrices = 2

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> "ReLU":
        return ReLU(n_embd, hidden, bias, dropout)


class ReLU(MLP):
    """(B, T, C) -> (B, T, C), with max(x, 0)."""

    def activate(self, x: Tensor) -> Tensor:
        return F.relu(x)
