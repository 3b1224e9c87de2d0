"""Linear decay, which ends best when the budget is known (https://arxiv.org/abs/2310.07831)."""

from typing import Annotated

from microgpt.config import Range
from microgpt.engine.schedule.base import ScheduleConfig


class LinearConfig(ScheduleConfig, name="linear"):
    """A straight line from the full learning rate down to `final`."""

    final: Annotated[float, Range(min=0, max=1)] = 0.0
    "Factor reached at the last step."

    def shape(self, progress: float) -> float:
        return 1 - (1 - self.final) * progress
