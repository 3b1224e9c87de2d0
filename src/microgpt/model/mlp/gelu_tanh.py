"""GPT-2's approximation of GELU (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415)."""

from torch import Tensor
from torch.nn import functional as F

from microgpt.model.mlp.base import MLP, MLPConfig


class GELUTanhConfig(MLPConfig, name="gelu_tanh"):
    """GELU approximated with a tanh, within 0.0005."""

    matrices = 2

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> "GELUTanh":
        return GELUTanh(n_embd, hidden, bias, dropout)


class GELUTanh(MLP):
    """(B, T, C) -> (B, T, C), with x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    def activate(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")
