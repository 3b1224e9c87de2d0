"""Squared ReLU with a gradient of its own: one pass over memory backward, where autograd takes four."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def squared_relu(x: Tensor) -> Tensor:
    """relu(x)^2 (https://arxiv.org/abs/2109.08668)."""
    if torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
        y: Tensor = TrainedSquaredReLU.apply(x)[0]  # type: ignore[no-untyped-call]
        return y
    x = F.relu(x)
    return x * x


class TrainedSquaredReLU(torch.autograd.Function):
    """relu(x)^2 and its gradient, 2 relu(x) g."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(x)
        return x * x, x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        del inputs  # the gradient needs relu(x) alone
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # no zeros for the output that has no gradient
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.addcmul(grad.new_zeros(()), grad, x, value=2)
