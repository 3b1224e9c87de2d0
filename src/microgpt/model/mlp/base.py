"""Base classes of the feed-forward half of a block: widen, activate, narrow.

A new MLP is one file beside this one, or a file of your own that `imports=[my_mlp.py]` names. Most override one
method of `MLP` or of `GatedMLP`; any module (B, T, C) -> (B, T, C) will do:

    class MyMLPConfig(MLPConfig, name="mine"):
        sharpness: Positive = 1.0
        "Slope of the activation at zero."

        def build(self, n_embd, hidden, bias, dropout):
            return MyMLP(n_embd, hidden, bias, dropout, self.sharpness)

Imports only torch, `microgpt.registry` and the linear layers' kernel.
"""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from microgpt.model.kernels.linear import Linear
from microgpt.registry import Choice


class MLPConfig(Choice, family="MLP", is_word=True):
    """The knobs of an MLP; a subclass with `name=` adds an MLP."""

    matrices: ClassVar[int] = 0
    """Matrices of n_embd by hidden numbers that it has at least."""

    def default_hidden(self, n_embd: int) -> int:
        """Width of the hidden layer if `model.mlp_hidden` is null."""
        return 4 * n_embd

    def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> nn.Module:
        """A module (B, T, C) -> (B, T, C), for C = n_embd.

        The model draws the weights layer by layer; it treats a linear layer called `out` as the one that writes to
        the residual stream, whose weights start smaller.

        Args:
            hidden: width of the hidden layer.
            bias: whether linear layers have a bias.
            dropout: probability with which training zeroes each number of the result.
        """
        raise TypeError(f"{type(self).__name__} builds no MLP")


class GatedMLPConfig(MLPConfig):
    """Base of the gated MLPs, whose three matrices of width 8/3 C have as many weights as two of 4 C."""

    matrices = 3

    def default_hidden(self, n_embd: int) -> int:
        return max(8, round(n_embd * 8 / 3 / 8) * 8)


class MLP(nn.Module):
    """Two matrices with an activation between them, which a subclass defines."""

    def __init__(self, n_embd: int, hidden: int, bias: bool, dropout: float, widened: int | None = None) -> None:
        super().__init__()
        self.widen = Linear(n_embd, widened or hidden, bias=bias)
        self.out = Linear(hidden, n_embd, bias=bias)
        self.dropout = dropout

    def activate(self, x: Tensor) -> Tensor:
        """(..., widened) -> (..., hidden)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.activate(self.widen(x)))
        return F.dropout(y, self.dropout) if self.dropout and self.training else y


class GatedMLP(MLP):
    """One half of the widened input, activated, times the other half (Shazeer, https://arxiv.org/abs/2002.05202).

    `widen` holds both matrices, the gate's first.
    """

    def __init__(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> None:
        super().__init__(n_embd, hidden, bias, dropout, widened=2 * hidden)

    def gate(self, x: Tensor) -> Tensor:
        """The activation of the gate, (..., hidden) -> (..., hidden)."""
        raise NotImplementedError

    def activate(self, x: Tensor) -> Tensor:
        gate, value = x.chunk(2, dim=-1)
        return self.gate(gate) * value
