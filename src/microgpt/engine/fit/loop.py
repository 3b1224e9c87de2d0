"""Lightning's batch loop, with a fast path for a step on one device.

Between two forward passes Lightning looks up a dozen hooks that nothing here defines, metrics logged through it,
schedulers and its own validation; on a small model this takes a tenth of the time. The fast path makes the same calls
in the same order and skips the ones that do nothing. A run takes Lightning's path if it has several devices, a loss
scaler, or a callback with a per-step hook that is not a `StepCallback`.
"""

from itertools import product
from typing import Any

import lightning as L
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from microgpt.engine.fit.callbacks.base import StepCallback
from microgpt.engine.fit.lightning_private import EpochLoop
from microgpt.engine.fit.module import GPTModule

NOT_CALLED = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
"""Callback hooks that the fast path skips."""


class StepLoop(EpochLoop):
    """Replaces a trainer's `fit_loop.epoch_loop`; it counts, raises and leaves behind the same."""

    is_short = False

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        self.set_logged_steps(self.global_step)
        self.is_short = (
            type(self.trainer.strategy) is SingleDeviceStrategy
            and getattr(self.trainer.precision_plugin, "scaler", None) is None
            and type(self.trainer.lightning_module) is GPTModule
            and not any(has_hook(*pair) for pair in product(self.trainer.callbacks, NOT_CALLED))
            and all(ends_steps_as_ours(callback) for callback in self.trainer.callbacks)
        )

    def advance(self, data_fetcher: Any) -> None:
        if not self.is_short:
            super().advance(data_fetcher)
            return
        trainer, module, progress = self.trainer, self.trainer.lightning_module, self.batch_progress
        batch, batch_idx = next(data_fetcher)[0], self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = module.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        progress.increment_ready()
        module.on_train_batch_start(batch, batch_idx)
        progress.increment_started()
        updates = not self.only_accumulates()
        counter = self.step_counter
        if updates:
            counter.increment_ready()
        with trainer.precision_plugin.train_step_context():
            loss = module.training_step(batch, batch_idx)
        if trainer.accumulate_grad_batches > 1:
            loss = loss / trainer.accumulate_grad_batches
        loss.backward()
        outputs = {"loss": loss.detach()}
        del loss  # frees its graph before callbacks evaluate and save
        if updates:
            optimizer = trainer.optimizers[0]
            module.configure_gradient_clipping(optimizer)
            optimizer.step()
            module.after_update(optimizer)
            counter.increment_completed()
        progress.increment_processed()
        for callback in trainer.callbacks:
            callback.on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        progress.increment_completed()

    def on_advance_end(self, data_fetcher: Any) -> None:
        if not self.is_short or self.trainer.should_stop:
            super().on_advance_end(data_fetcher)
            return
        if not self.only_accumulates():
            self.count_logged_step()
        if self.trainer.received_sigterm and not self.is_done:
            raise SIGTERMException


def ends_steps_as_ours(callback: L.Callback) -> bool:
    """Whether the end-of-step hook is ours or absent: any other may log through Lightning, which needs its own path."""
    return type(callback).on_train_batch_end in (StepCallback.on_train_batch_end, L.Callback.on_train_batch_end)


def has_hook(callback: L.Callback, name: str) -> bool:
    """Whether a callback overrides the hook."""
    return getattr(type(callback), name) not in (None, getattr(L.Callback, name))
