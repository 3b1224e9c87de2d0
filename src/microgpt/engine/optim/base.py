"""Settings common to all optimizers: learning rate, weight decay, warm-up and schedule."""

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from microgpt.config import NonNegative, Positive
from microgpt.engine.schedule import ScheduleConfig
from microgpt.engine.schedule.linear import LinearConfig
from microgpt.registry import Choice

NamedParameters = Iterable[tuple[str, nn.Parameter]]


class OptimConfig(Choice, family="optimizer"):
    """Base class of optimizer configs."""

    state_per_weight: ClassVar[int] = 0
    """Numbers of optimizer state per trained weight, at least."""

    lr: Positive = 1e-3
    "Peak learning rate."
    weight_decay: NonNegative = 0.1
    "Decoupled weight decay for matrices; norms and biases get none."
    warmup_steps: NonNegative = 0.02
    "Steps of linear warm-up; a value below 1 is a share of the run."
    schedule: ScheduleConfig = LinearConfig()
    "Learning-rate schedule after the warm-up."

    def build(self, parameters: NamedParameters) -> Optimizer:
        """Build the torch optimizer. Each group's `lr` is its peak, which the schedule scales."""
        raise TypeError(f"{type(self).__name__} builds no optimizer")

    def lr_factor(self, step: int, total_steps: int) -> float:
        """Return the schedule's factor on each group's peak learning rate at `step`, counted from 0."""
        warmup = round(self.warmup_steps * total_steps) if self.warmup_steps < 1 else int(self.warmup_steps)
        return self.schedule.factor(step, total_steps, warmup)

    def decay_groups(self, parameters: NamedParameters) -> list[dict[str, object]]:
        """Split parameters into two groups: matrices with weight decay; vectors (norms, biases, scales) without."""
        trained = [p for _, p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]


def evaluated(closure: Callable[[], float] | None) -> float | None:
    """Evaluate the closure passed to an optimizer's `step`, with gradients; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
