"""Muon (Jordan et al., https://kellerjordan.github.io/posts/muon) for hidden matrices, AdamW for the rest.

Muon orthogonalizes each weight matrix's momentum before applying it. It suits matrices that map hidden states to
hidden states. AdamW trains embeddings, the output head, norms and biases with a learning rate of their own.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from microgpt.config import Count, Fraction, NonNegative, Positive
from microgpt.engine.optim.base import NamedParameters, OptimConfig, evaluated
from microgpt.model.kernels import hardware
from microgpt.model.kernels.torch_private import foreach


class MuonConfig(OptimConfig, name="muon"):
    """Muon with `lr` for hidden matrices, AdamW with `adamw_lr` for everything else."""

    state_per_weight = 1

    lr: Positive = 0.02
    "Peak learning rate of the hidden matrices."
    weight_decay: NonNegative = 0.0
    "Decoupled weight decay for matrices."
    momentum: Fraction = 0.95
    "Share of the momentum kept at each update."
    ns_steps: Count = 5
    "Newton-Schulz iterations per update."
    adamw_lr: Positive = 3e-3
    "AdamW's peak learning rate, for embeddings, head, norms and biases."
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    "AdamW's decay rates of the running means of the gradient and its square."

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        parameters = [(name, p) for name, p in parameters if p.requires_grad]
        hidden = [p for name, p in parameters if is_hidden_matrix(name, p)]
        rest = [(name, p) for name, p in parameters if not is_hidden_matrix(name, p)]
        optimizers: list[torch.optim.Optimizer] = []
        if hidden:
            optimizers.append(
                BatchedMuon(
                    hidden,
                    lr=self.lr,
                    weight_decay=self.weight_decay,
                    momentum=self.momentum,
                    ns_steps=self.ns_steps,
                )
            )
        if rest:
            groups = self.decay_groups(rest)
            optimizers.append(torch.optim.AdamW(groups, lr=self.adamw_lr, betas=self.betas, fused=True))
        return OptimizerGroup(optimizers)


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix inside a block: Muon trains these."""
    return parameter.ndim == 2 and name.startswith("blocks.")


class BatchedMuon(torch.optim.Muon):
    """torch's Muon, batched: it orthogonalizes all matrices of one shape, or its transpose, together.

    The update equals torch's except for rounding and takes fewer, larger products. Settings, state and checkpoints are
    torch's.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        loss = evaluated(closure)
        for group in self.param_groups:
            lr, momentum = float(group["lr"]), group["momentum"]
            matrices = [p for p in group["params"] if p.grad is not None]
            if not matrices:
                continue
            gradients = [p.grad for p in matrices]
            for p in matrices:
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            means = [self.state[p]["momentum_buffer"] for p in matrices]
            foreach("lerp_")(means, gradients, 1 - momentum)
            updates = foreach("lerp")(gradients, means, momentum) if group["nesterov"] else means
            by_shape: dict[tuple[int, ...], list[int]] = {}
            for i, p in enumerate(matrices):
                by_shape.setdefault(tuple(sorted(p.shape)), []).append(i)
            foreach("mul_")(matrices, 1 - lr * group["weight_decay"])
            for members in by_shape.values():
                wide = torch.stack([widened(updates[i]) for i in members])  # (n, rows <= columns, columns)
                polar = newton_schulz(wide, group["ns_coefficients"], group["ns_steps"], group["eps"])
                for i, matrix in zip(members, polar, strict=True):
                    p = matrices[i]
                    rows, columns = p.shape
                    p.add_(matrix.mT if rows > columns else matrix, alpha=-lr * math.sqrt(max(1.0, rows / columns)))
        return loss


def widened(matrix: Tensor) -> Tensor:
    """Return the matrix, transposed if it has more rows than columns."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def newton_schulz(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """Approximate the nearest semi-orthogonal matrices to (n, rows, columns): singular values end near 1.

    The products run in the device's fastest number format.
    """
    a, b, c = coefficients
    x = matrices.to(hardware.of(matrices.device.type).rough_dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class OptimizerGroup(torch.optim.Optimizer):
    """Several optimizers over disjoint parameters, stepped, saved and loaded as one."""

    def __init__(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        super().__init__([{"params": group["params"]} for group in groups], {})
        self.param_groups = groups  # the optimizers' own dicts: a learning rate set here reaches them

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Evaluate the closure once, then step each optimizer."""
        loss = evaluated(closure)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for optimizer, part in zip(self.optimizers, state_dict["parts"], strict=True):
            optimizer.load_state_dict(part)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
