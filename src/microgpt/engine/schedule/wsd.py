"""Warmup-stable-decay (MiniCPM, https://arxiv.org/abs/2404.06395): a plateau, then a linear decay."""

from typing import Annotated

from microgpt.config import Fraction, Range
from microgpt.engine.schedule.base import ScheduleConfig


class WarmupStableDecayConfig(ScheduleConfig, name="wsd"):
    """Keep the peak learning rate, then decay linearly to `final` at the end."""

    decay: Annotated[float, Range(above=0, max=1)] = 0.2
    "Share of the steps after warm-up over which the learning rate decays."
    final: Fraction = 0.0
    "Learning-rate factor at the last step."

    def shape(self, progress: float) -> float:
        fallen = max(0.0, (progress - (1 - self.decay)) / self.decay)
        return 1 - (1 - self.final) * fallen
