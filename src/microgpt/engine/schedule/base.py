"""Learning-rate schedules: a linear warm-up, then a shape of the schedule's own."""

from microgpt.registry import Choice


class ScheduleConfig(Choice, family="schedule"):
    """Base class of learning-rate schedules. A schedule keeps no state: the step alone resumes it."""

    def shape(self, progress: float) -> float:
        """Return the learning-rate factor after warm-up; `progress` runs from 0 to 1."""
        raise TypeError(f"{type(self).__name__} defines no shape")

    def factor(self, step: int, total_steps: int, warmup_steps: int) -> float:
        """Return the learning-rate factor of update `step`, counted from 0."""
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return self.shape(min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps)))
