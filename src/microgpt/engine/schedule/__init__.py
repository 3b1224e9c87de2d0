"""Learning-rate schedules: a factor in [0, 1] as a pure function of the step; one file a schedule."""

from microgpt.engine.schedule.base import ScheduleConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["ScheduleConfig"]
