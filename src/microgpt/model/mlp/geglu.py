"""MLP gated by GELU (Shazeer, https://arxiv.org/abs/2002.05202)."""

from torch import Tensor
from torch.nn import functional as F

from microgpt.model.mlp.base import GatedMLP, GatedMLPConfig


class GEGLUConfig(GatedMLPConfig, name="geglu"):
    """Three matrices; the gate is a GELU."""

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> "GEGLU":
        return GEGLU(n_embd, hidden, bias, dropout)


class GEGLU(GatedMLP):
    """(B, T, C) -> (B, T, C): the matrix `out` times GELU(gate) * value."""

    def gate(self, x: Tensor) -> Tensor:
        return F.gelu(x)
