"""A Lightning callback that is called once an optimizer step, when its last micro-batch is done."""

import contextlib
from typing import Any

import lightning as L

from microgpt.engine.fit.loader import Batch
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.process import signals


class StepCallback(L.Callback):
    """Override `on_step_end`; `step` is the number of updates made so far."""

    # Lightning skips a hook that is None, which is faster than calling one that does nothing.
    on_train_batch_start = on_before_zero_grad = on_before_backward = on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = None  # type: ignore[assignment]

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        """Called after each optimizer step. What raises `signals.Interrupted` ends early, and saving comes next."""

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, pl_module: GPTModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch.micro == trainer.accumulate_grad_batches - 1:
            signals.defer()  # from here on there is something to lose
            with contextlib.suppress(signals.Interrupted):
                self.on_step_end(trainer, pl_module, trainer.global_step)


def is_due(step: int, every: int, total: int) -> bool:
    """Whether something done every so many steps, and at the end, is done after `step`; never if `every` is 0."""
    return every > 0 and (step % every == 0 or step == total)
