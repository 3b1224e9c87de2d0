"""Linear decay, the best schedule for a known budget (https://arxiv.org/abs/2310.07831)."""

from typing import Annotated

from microgpt.config import Range
from microgpt.engine.schedule.base import ScheduleConfig


class LinearConfig(ScheduleConfig, name="linear"):
    """Decay linearly from the peak learning rate to `final`."""

    final: Annotated[float, Range(min=0, max=1)] = 0.0
    "Learning-rate factor at the last step."

    def shape(self, progress: float) -> float:
        return 1 - (1 - self.final) * progress
