"""All uses of Lightning's private names and undocumented internals.

Checked against lightning >=2.6.6,<2.7. If a name is gone, `check` says which.
"""

from operator import attrgetter
from typing import Any

import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.optim import Optimizer

from microgpt.errors import MachineError

CHECKED = ">=2.6.6,<2.7"


def gone(name: str) -> MachineError:
    """The error for a name missing from the installed Lightning."""
    what = f"lightning {L.__version__} has no {name}, which training relies on"
    return MachineError(what, "this environment", f'pip install "lightning{CHECKED}"')


try:
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
except ImportError:
    raise gone("lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop") from None

OF_A_TRAINER = (
    "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed",
    "fit_loop.epoch_loop._batches_that_stepped",
    "fit_loop.epoch_loop._should_accumulate",
    "fit_loop.epoch_loop._is_training_done",
    "fit_loop.epoch_loop.batch_progress.increment_ready",
    "fit_loop.epoch_loop.batch_progress.increment_started",
    "fit_loop.epoch_loop.batch_progress.increment_processed",
    "fit_loop.epoch_loop.batch_progress.increment_completed",
    "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.increment_ready",
    "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.increment_completed",
    "received_sigterm",
)
"""Attribute paths of the batch loop and its counters, from the trainer."""
OF_CLASSES = ((ModelParallelStrategy, "_configure_launcher"),)
"""Methods overridden here; if Lightning renamed one, it would no longer call ours."""


def check(trainer: L.Trainer) -> None:
    """Check that every private name exists.

    Raises:
        MachineError: a name is missing; the error names the first.
    """
    for path in OF_A_TRAINER:
        try:
            attrgetter(path)(trainer)
        except AttributeError:
            raise gone(f"Trainer.{path}") from None
    for cls, name in OF_CLASSES:
        if name not in vars(cls):
            raise gone(f"{cls.__name__}.{name}")


class EpochLoop(_TrainingEpochLoop):
    """Lightning's batch loop, with public names for the parts that `StepLoop` uses."""

    @property
    def step_counter(self) -> Any:
        """The counter of optimizer steps started and completed."""
        return self.automatic_optimization.optim_progress.optimizer.step

    @property
    def is_done(self) -> bool:
        """Whether all batches or steps are done."""
        return self._is_training_done

    def only_accumulates(self) -> bool:
        """Whether the current batch adds to the gradient without an update."""
        return self._should_accumulate()

    def count_logged_step(self) -> None:
        """Count an update in the step at which Lightning's own callbacks log."""
        self._batches_that_stepped += 1

    def set_logged_steps(self, updates: int) -> None:
        """Set the step at which Lightning's own callbacks log."""
        self._batches_that_stepped = updates


def set_update_count(trainer: L.Trainer, updates: int) -> None:
    """Tell a trainer's loop how many updates a resumed run has made.

    The other counters restart at zero, so a run can be extended or continue with other micro-batches.
    """
    progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    progress.ready = progress.completed = updates


def unscale_before_clipping(optimizer: Optimizer) -> None:
    """Unscale the gradient before clipping: fused optimizers would unscale it in their step, after clipping."""
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]


class StartedRanksStrategy(ModelParallelStrategy):
    """FSDP2 over processes that are already running: Lightning starts none."""

    def _configure_launcher(self) -> None:
        """Configure no launcher."""
