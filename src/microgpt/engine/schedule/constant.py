"""Constant learning rate after the warm-up."""

from microgpt.engine.schedule.base import ScheduleConfig


class ConstantConfig(ScheduleConfig, name="constant"):
    """Keep the peak learning rate to the end."""

    def shape(self, progress: float) -> float:
        return 1.0
