"""Squared ReLU, found by Primer (So et al., https://arxiv.org/abs/2109.08668)."""

from torch import Tensor

from microgpt.model.kernels.squared_relu import squared_relu
from microgpt.model.mlp.base import MLP, MLPConfig


class ReLU2Config(MLPConfig, name="relu2"):
    """Square positive numbers and zero the rest."""

    matrices = 2

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> "ReLU2":
        return ReLU2(n_embd, hidden, bias, dropout)


class ReLU2(MLP):
    """(B, T, C) -> (B, T, C), with max(x, 0)^2."""

    def activate(self, x: Tensor) -> Tensor:
        return squared_relu(x)
