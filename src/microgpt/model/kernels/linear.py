"""Linear layers: torch's own, or a faster kernel on CPUs.

In float32 on x86 torch multiplies with MKL, which is tuned for Intel's processors. oneDNN
(https://github.com/uxlfoundation/oneDNN) suits AMD's too. GFLOP/s on one core of a Zen 4, MKL and oneDNN:

    rows x inputs x outputs     forward    gradient of x    of the weight
     768 x  128 x  512         101  105        100  112          88   85
    4096 x  256 x 1024          88  103         87  109          89   85
    4096 x 1024 x  256          88  107         87  104          95   95
    2048 x  384 x 1536          93  102         93  107          96   90
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from microgpt.model.kernels import hardware, torch_private

_LARGE = 2**26
"""The fewest multiplications for which oneDNN is worth the call from Python."""


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., inputs) -> (..., outputs), for a weight (outputs, inputs)."""
    if x.device.type == "cpu":
        if torch.compiler.is_compiling():
            if not torch.is_grad_enabled() and x.numel() == x.shape[-1]:
                return _one_row(x, weight, bias)
        elif x.dtype is weight.dtype is torch.float32 and x.numel() * len(weight) >= _LARGE and onednn_is_fast():
            y: Tensor = OneDNNLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
            return y
    return F.linear(x, weight, bias)


def onednn_is_fast() -> bool:
    """Whether oneDNN has the fast kernels for products in the weights' dtype."""
    return hardware.of("cpu").has_onednn and not torch.is_autocast_enabled("cpu")


class OneDNNLinear(torch.autograd.Function):
    """A linear layer whose output and input gradient come from oneDNN, its weight gradient from torch."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _onednn(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        del output  # the gradients need only the inputs
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            _onednn(grad, weight.mT, None) if needs_x else None,
            rows.mT @ x.flatten(0, -2) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch_private.linear_pointwise()(x, weight, bias, "none", [], "")
    return y


def _one_row(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = products_as_sums(x, weight)
    return (y if bias is None else y + bias).to(x.dtype)


def products_as_sums(x: Tensor, weight: Tensor) -> Tensor:
    """(..., inputs) -> (..., outputs) in float32 or wider, written as sums, which the compiler turns into one loop over
    the weight. On one core of a Zen 4 it reads 10.6 million float32 weights at 35 GB/s, the memory's limit; a library's
    matrix product with one row reads 11 to 16."""
    wide = sum_dtype(x.dtype)
    return (buffered(x).unsqueeze(-2).to(wide) * weight.to(wide)).sum(-1)


def buffered(x: Tensor) -> Tensor:
    """The same tensor, which compiled code computes once and not anew for each output."""
    return x.as_strided(x.shape, x.stride())


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The format in which products of this format are summed."""
    return torch.promote_types(dtype, torch.float32)
