"""A Lightning callback that runs once per optimizer step, after the step's last micro-batch."""

import contextlib
from typing import Any

import lightning as L

from microgpt.engine.fit.loader import Batch
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.process import signals


class StepCallback(L.Callback):
    """Override `on_step_end`; `step` is the number of updates made so far."""

    # Lightning skips a hook set to None, which is faster than calling an empty one.
    on_train_batch_start = on_before_zero_grad = on_before_backward = on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = None  # type: ignore[assignment]

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        """Run after each optimizer step. A hook that raises `signals.Interrupted` ends early; the run then saves."""

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: GPTModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch.micro == trainer.accumulate_grad_batches - 1:
            signals.defer()  # from here on an exit would lose work
            with contextlib.suppress(signals.Interrupted):
                self.on_step_end(trainer, pl_module, trainer.global_step)


def is_due(step: int, every: int, total: int) -> bool:
    """Whether `step` is a multiple of `every` or the last of `total` steps; never if `every` is 0."""
    return every > 0 and (step % every == 0 or step == total)
