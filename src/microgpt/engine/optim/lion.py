"""Lion, EvoLved Sign Momentum (Chen et al., https://arxiv.org/abs/2302.06675)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from microgpt.config import Fraction
from microgpt.engine.optim.base import NamedParameters, OptimConfig, evaluated
from microgpt.model.kernels.torch_private import foreach


class LionConfig(OptimConfig, name="lion"):
    """Lion. Divide AdamW's learning rate by 3 to 10 and multiply its weight decay by as much."""

    state_per_weight = 1

    betas: tuple[Fraction, Fraction] = (0.9, 0.99)
    "Weight of the momentum in the signed update, and the momentum's decay."

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        return Lion(self.decay_groups(parameters), lr=self.lr, betas=self.betas)


class Lion(torch.optim.Optimizer):
    """`p <- (1 - lr wd) p - lr sign(b1 m + (1 - b1) g)`, then `m <- b2 m + (1 - b2) g`."""

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0
    ):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = evaluated(closure)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads: list[Tensor] = [p.grad for p in params]
            for p in params:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in params]
            lr, (beta1, beta2) = group["lr"], group["betas"]
            directions = foreach("lerp")(momenta, grads, 1 - beta1)
            foreach("sign_")(directions)
            foreach("mul_")(params, 1 - lr * group["weight_decay"])
            foreach("add_")(params, directions, alpha=-lr)
            foreach("lerp_")(momenta, grads, 1 - beta2)
        return loss
