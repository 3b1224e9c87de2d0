"""Learning-rate schedules, one per file. Each is a pure function from the step to a factor in [0, 1]."""

from microgpt.engine.schedule.base import ScheduleConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["ScheduleConfig"]
