"""Cross-entropy, and a version for large vocabularies that never holds the logits of all tokens."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

MOST = 2**27
"""The most logits to compute at once: 512 MiB in float32."""
PIECES = 4
"""Pieces, each with its logits, that fill the memory of so many at once."""


def cross_entropy(logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """Nats per token, in float32 or wider, from logits (B, T, V) and targets (B, T) int64; -100 is not counted."""
    # The softmax casts, so that no tensor of float32 logits is made.
    log_p = F.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    loss = F.nll_loss(log_p.flatten(0, 1), targets.flatten(), reduction=reduction)
    return loss.view(targets.shape) if reduction == "none" else loss


def most_logits(device: torch.device) -> int:
    """The most logits to compute at once on a device: on a GPU as many as take a quarter of its memory."""
    if device.type != "cuda":
        return MOST
    return max(MOST, torch.cuda.get_device_properties(device).total_memory // 64)


def piecewise_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor, softcap: float, most: int = MOST) -> Tensor:
    """Mean nats per token, piece by piece; takes the arguments of `PiecewiseLoss`."""
    loss: Tensor = PiecewiseLoss.apply(x, weight, targets, softcap, most)  # type: ignore[no-untyped-call]
    return loss


class PiecewiseLoss(torch.autograd.Function):
    """Mean cross-entropy of the head's logits, computed for one piece of the tokens at a time. The forward pass also
    computes the gradients.

    N tokens and a vocabulary of V have N V logits, held several times: 3.3 GB each time in float32 for GPT-2 and
    16 x 1024 tokens. Here each piece's logits are freed once its part of the gradients is computed. The arithmetic and
    its order within a token are the same.

    Args:
        x: (N, C), the head's input.
        weight: (V, C), the head's weight.
        targets: (N,) int64; -100 is not counted.
        softcap: c in c tanh(logits / c), or 0 for none.
        most: logits of `PIECES` pieces.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, softcap: float, most: int) -> Tensor:
        wide = torch.promote_types(weight.dtype, torch.float32)
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
        loss = torch.zeros((), dtype=wide, device=x.device)
        rows = max(1, most // PIECES // weight.shape[0])
        for start in range(0, len(x), rows):
            piece, wanted = x[start : start + rows], targets[start : start + rows]
            logits = F.linear(piece, weight)  # (rows, V)
            if softcap:
                logits = softcap * torch.tanh(logits / softcap)
            log_p = F.log_softmax(logits, dim=-1, dtype=wide)
            loss += F.nll_loss(log_p, wanted, reduction="sum")
            if grad_x is None and grad_weight is None:
                continue
            grad = log_p.exp_()  # d(summed loss) / d(logits): probabilities, less 1 at the target
            counted = (wanted != -100)[:, None]
            grad.scatter_add_(1, wanted.clamp(min=0)[:, None], -counted.to(wide))
            grad *= counted
            if softcap:
                grad *= 1 - (logits / softcap).square()
            grad = grad.to(logits.dtype)
            if grad_x is not None:
                grad_x[start : start + rows] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.mT @ piece
        n = (targets != -100).sum()
        ctx.save_for_backward(*(None if g is None else g.div_(n) for g in (grad_x, grad_weight)))
        ctx.dtype = weight.dtype
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        grad_x, grad_weight = ctx.saved_tensors
        return (
            None if grad_x is None else grad_x * grad,
            None if grad_weight is None else (grad_weight * grad).to(ctx.dtype),
            None,
            None,
            None,
        )
