"""Gaussian error linear units (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415)."""

from torch import Tensor
from torch.nn import functional as F

from microgpt.model.mlp.base import MLP, MLPConfig


class GELUConfig(MLPConfig, name="gelu"):
    """Multiply each number by the normal distribution's probability below it, x P(X < x)."""

    matrices = 2

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> "GELU":
        return GELU(n_embd, hidden, bias, dropout)


class GELU(MLP):
    """(B, T, C) -> (B, T, C), with the exact GELU, x (1 + erf(x / sqrt(2))) / 2."""

    def activate(self, x: Tensor) -> Tensor:
        return F.gelu(x)
