"""Cosine decay (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983), without restarts."""

import math
from typing import Annotated

from microgpt.config import Range
from microgpt.engine.schedule.base import ScheduleConfig


class CosineConfig(ScheduleConfig, name="cosine"):
    """Decay from the peak learning rate to `final` along half a cosine."""

    final: Annotated[float, Range(min=0, max=1)] = 0.1
    "Learning-rate factor at the last step."

    def shape(self, progress: float) -> float:
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
