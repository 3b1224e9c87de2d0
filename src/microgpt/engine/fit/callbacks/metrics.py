"""Log training loss, gradient norm, learning rate and speed every `trainer.log_every_n_steps`."""

import contextlib
import math
import time
from typing import Any

import lightning as L
import torch

from microgpt.engine.fit.callbacks.base import StepCallback, is_due
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.machine.device import peak_flops
from microgpt.engine.process.optional import optional
from microgpt.engine.process.progress import Progress


class Clock:
    """Count the seconds spent training; evaluation, sampling and saving stop the clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Start or continue counting."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop counting and keep the seconds so far."""
        self.seconds = self.read()
        self._since = None

    def read(self) -> float:
        """The seconds so far."""
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)


class Slowdown:
    """Detect, once, that steps have become several times slower."""

    SPAN, TIMES = 5.0, 3.0
    "Seconds of steps to compare, and the ratio that counts as a slowdown."

    def __init__(self) -> None:
        self._steps, self._seconds = 0, 0.0
        self._fastest = math.inf
        self._is_said = False

    def add(self, steps: int, seconds: float) -> float | None:
        """Add steps and the seconds they took.

        Returns:
            The ratio of a step's time now to its time before, the first time it is too large; else None.
        """
        self._steps, self._seconds = self._steps + steps, self._seconds + seconds
        if self._seconds < self.SPAN:
            return None
        pace = self._seconds / self._steps
        self._steps, self._seconds = 0, 0.0
        self._fastest = min(self._fastest, pace)
        times = pace / self._fastest
        if times < self.TIMES or self._is_said:
            return None
        self._is_said = True
        return times


class Metrics(StepCallback):
    """Log the step that just ended; between logged steps, read nothing from the device."""

    def __init__(self, clock: Clock, progress: Progress, flops_per_token: float, dtype: torch.dtype) -> None:
        self.clock, self.progress = clock, progress
        self.flops_per_token, self.dtype = flops_per_token, dtype
        self._last_step, self._last_seconds = 0, 0.0
        self._slowdown = Slowdown()
        self._is_first_row = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last_step, self._last_seconds = trainer.global_step, self.clock.seconds
        self.clock.start()

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        config = module.config
        if not (is_due(step, config.trainer.log_every_n_steps, module.total_steps) or step == 1):
            return
        module.check_gradient()
        loss = mean_over_ranks(trainer, module.step_loss())
        seconds = self.clock.read()
        tokens_per_step = config.data.batch_size * config.model.block_size
        steps, took = step - self._last_step, seconds - self._last_seconds
        speed = steps * tokens_per_step / max(1e-9, took)
        self._last_step, self._last_seconds = step, seconds
        metrics = {
            "tokens": step * tokens_per_step,
            "seconds": seconds,
            "train/loss": loss,
            "train/grad_norm": float(module.grad_norm) if module.grad_norm is not None else 0.0,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "perf/tokens_per_second": speed,
        }
        if trainer.is_global_zero:
            peak = peak_flops(module.device.type, self.dtype) * trainer.world_size
            metrics["perf/mfu"] = speed * self.flops_per_token / peak
            assert trainer.logger is not None
            with optional("logging the last step") if step == module.total_steps else contextlib.nullcontext():
                trainer.logger.log_metrics(metrics, step)
            self.progress.step(step, loss, speed)
            if not self._is_first_row and (times := self._slowdown.add(steps, took)) is not None:
                why = "the machine is busy with other work, or short of memory"
                self.progress.say(f"warning: at step {step} a step takes {times:.1f} times as long as before: {why}")
            self._is_first_row = False

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.clock.read()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.clock.seconds = state_dict["seconds"]


def mean_over_ranks(trainer: L.Trainer, value: float) -> float:
    """Average a number over all processes."""
    if trainer.world_size == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=trainer.strategy.root_device)
    return float(trainer.strategy.reduce(tensor, reduce_op="mean"))
