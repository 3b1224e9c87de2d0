"""What every optimizer config has: a learning rate, weight decay, a warm-up and a schedule."""

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from microgpt.config import NonNegative, Positive
from microgpt.engine.schedule import ScheduleConfig
from microgpt.engine.schedule.linear import LinearConfig
from microgpt.registry import Choice

NamedParameters = Iterable[tuple[str, nn.Parameter]]


class OptimConfig(Choice, family="optimizer"):
    """Base of the optimizers."""

    lr: Positive = 1e-3
    "Peak learning rate."
    weight_decay: NonNegative = 0.1
    "Decoupled weight decay, on matrices only: norms and biases are left alone."
    warmup_steps: NonNegative = 0.02
    "Steps of linear warm-up; below 1 it is a share of the run."
    schedule: ScheduleConfig = LinearConfig()
    "How the learning rate goes on after the warm-up."

    def build(self, parameters: NamedParameters) -> Optimizer:
        """The torch optimizer; each group's `lr` is the peak that the schedule multiplies."""
        raise TypeError(f"{type(self).__name__} builds no optimizer")

    def lr_factor(self, step: int, total_steps: int) -> float:
        """The schedule's factor on every group's peak learning rate at `step`, counted from 0."""
        warmup = round(self.warmup_steps * total_steps) if self.warmup_steps < 1 else int(self.warmup_steps)
        return self.schedule.factor(step, total_steps, warmup)

    def decay_groups(self, parameters: NamedParameters) -> list[dict[str, object]]:
        """Two parameter groups: matrices with weight decay, vectors (norms, biases, scales) without."""
        trained = [p for _, p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]


def evaluated(closure: Callable[[], float] | None) -> float | None:
    """The loss of a closure that an optimizer's `step` was given, with gradients; None of none."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
