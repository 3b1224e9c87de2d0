"""What every schedule is: warm up linearly, then follow a shape."""

from microgpt.registry import Choice


class ScheduleConfig(Choice, family="schedule"):
    """Base of the learning-rate schedules. A schedule keeps no state: resuming it takes the step alone."""

    def shape(self, progress: float) -> float:
        """The factor on the learning rate after warm-up; `progress` runs from 0 to 1."""
        raise TypeError(f"{type(self).__name__} defines no shape")

    def factor(self, step: int, total_steps: int, warmup_steps: int) -> float:
        """The factor for the update that turns step `step` (from 0) into `step + 1`."""
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return self.shape(min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps)))
