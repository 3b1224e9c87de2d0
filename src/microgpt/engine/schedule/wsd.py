"""Warmup-stable-decay (MiniCPM, https://arxiv.org/abs/2404.06395): a plateau, then a linear decay."""

from typing import Annotated

from microgpt.config import Fraction, Range
from microgpt.engine.schedule.base import ScheduleConfig


class WarmupStableDecayConfig(ScheduleConfig, name="wsd"):
    """The full learning rate, then a straight line down to `final` over the last part."""

    decay: Annotated[float, Range(above=0, max=1)] = 0.2
    "Share of the steps after warm-up over which the rate falls."
    final: Fraction = 0.0
    "Factor reached at the last step."

    def shape(self, progress: float) -> float:
        fallen = max(0.0, (progress - (1 - self.decay)) / self.decay)
        return 1 - (1 - self.final) * fallen
