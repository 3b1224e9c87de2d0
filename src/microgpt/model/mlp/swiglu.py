"""MLP gated by SiLU, as in Llama (Shazeer, https://arxiv.org/abs/2002.05202)."""

from torch import Tensor
from torch.nn import functional as F

from microgpt.model.mlp.base import GatedMLP, GatedMLPConfig


class SwiGLUConfig(GatedMLPConfig, name="swiglu"):
    """Three matrices; the gate is a SiLU, x sigmoid(x)."""

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> "SwiGLU":
        return SwiGLU(n_embd, hidden, bias, dropout)


class SwiGLU(GatedMLP):
    """(B, T, C) -> (B, T, C): the matrix `out` times SiLU(gate) * value."""

    def gate(self, x: Tensor) -> Tensor:
        return F.silu(x)
