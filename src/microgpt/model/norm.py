"""Normalisation of the residual stream, of queries and of keys."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from microgpt.model.config import GPTConfig


class Norm(nn.Module):
    """RMSNorm (https://arxiv.org/abs/1910.07467) or LayerNorm (https://arxiv.org/abs/1607.06450) over the last
    dimension, with or without a gain and a shift."""

    def __init__(self, width: int, config: GPTConfig) -> None:
        super().__init__()
        self.is_rms, self.shape, self.eps = config.norm == "rmsnorm", (width,), config.norm_eps
        has_shift = config.norm_affine and config.bias and not self.is_rms
        self.weight = nn.Parameter(torch.ones(width)) if config.norm_affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if has_shift else None

    def forward(self, x: Tensor) -> Tensor:
        if self.is_rms:
            return rms_norm(x, self.weight, self.eps)
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


def rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) over the last dimension, times the weight.

    torch has one kernel for it on GPUs. On CPUs it is made of many, and their gradients too, unless compiled.
    """
    is_composed = x.device.type == "cpu" and not torch.compiler.is_compiling()
    is_rounded_once = weight is None or x.dtype.itemsize >= 4
    if not (is_composed and is_rounded_once and torch.is_grad_enabled() and x.requires_grad):
        return F.rms_norm(x, x.shape[-1:], weight, eps)
    y: Tensor = TrainedRMSNorm.apply(x, eps)[0]  # type: ignore[no-untyped-call]
    return y if weight is None else y * weight


class TrainedRMSNorm(torch.autograd.Function):
    """y = r x with r = 1 / sqrt(mean(x^2) + eps), to the bit as torch has it. The gradient is r (g - y mean(g y)): a
    third of the passes over memory that a square, a mean, a root and a product make for theirs one after another."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        r = wide.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        return (wide * r).to(x.dtype), r

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else zeros are made for what has none
        ctx.save_for_backward(*output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor, None]:
        y, r = ctx.saved_tensors
        mean = (grad * y).mean(-1, keepdim=True)
        grad_x: Tensor = torch.addcmul(grad, y, mean, value=-1).mul_(r)
        return grad_x, None
