"""Products with the weights: torch's own, but for the one row of a text that is made with a compiled step on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., inputs) -> (..., outputs), for a weight (outputs, inputs)."""
    if not torch.is_grad_enabled() and torch.compiler.is_compiling() and _is_one_row_on_cpu(x):
        return _one_row(x, weight, bias)
    return F.linear(x, weight, bias)


def _is_one_row_on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.numel() == x.shape[-1]


def _one_row(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product as sums of products, which a compiler makes one loop over the weight: it reads 10.6 million weights
    in float32 at 35 GB/s on one core of a Zen 4, as fast as memory gives them, where a library's product for matrices
    reads 11 to 16."""
    x = x.as_strided(x.shape, x.stride())  # made a buffer: what computes x is not to be done anew for each output
    wide = torch.promote_types(x.dtype, torch.float32)
    y = (x.unsqueeze(-2).to(wide) * weight.to(wide)).sum(-1)
    return (y if bias is None else y + bias).to(x.dtype)
