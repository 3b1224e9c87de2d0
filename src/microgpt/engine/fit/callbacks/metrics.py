"""Log training loss, gradient norm, learning rate and speed every `trainer.log_every_n_steps`."""

import contextlib
import math
import time
from typing import Any

import lightning as L
import torch

from microgpt.engine.fit.callbacks.base import StepCallback, is_due
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.machine.device import peak_flops, synchronize
from microgpt.engine.process.optional import optional
from microgpt.engine.process.progress import Progress
from microgpt.engine.process.waiting import Load, busy_text


class Clock:
    """Count the seconds spent training; evaluation, sampling and saving stop the clock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.compile_seconds = 0.0
        "Seconds of the step that compiled the model; they do not count as training."
        self._since: float | None = None

    def start(self) -> None:
        """Start or continue counting."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop counting and keep the seconds so far."""
        self.seconds = self.read()
        self._since = None

    def leave_out(self, since: float) -> float:
        """Set a running clock back to `since` seconds; return the seconds left out, which compiling took."""
        self.compile_seconds = self.read() - since
        self.seconds, self._since = since, time.perf_counter()
        return self.compile_seconds

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
    """Log the step that just ended; between logged steps, read nothing from the device.

    Args:
        compiles: whether this process's first step compiles the model. Its time is left out of seconds and speed; the
            clock later counts it as one of the steps after it.
    """

    def __init__(
        self, clock: Clock, progress: Progress, flops_per_token: float, dtype: torch.dtype, compiles: bool = False
    ) -> None:
        self.clock, self.progress = clock, progress
        self.flops_per_token, self.dtype, self.compiles = flops_per_token, dtype, compiles
        self._last_step, self._last_seconds = 0, 0.0
        self._owes_a_step = False
        self._slowdown = Slowdown()
        self._load: Load | None = None
        self._is_load_said = False
        self._is_first_row = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last_step, self._last_seconds = trainer.global_step, self.clock.seconds
        if self.compiles:
            self.progress.compiling()
        self.clock.start()

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        if self.compiles and self.clock.compile_seconds == 0.0:
            self._leave_compiling_out(module, step)
        elif self._load is None and module.device.type == "cpu" and trainer.world_size == 1:
            self._load = Load()
        if is_due(step, module.config.trainer.log_every_n_steps, module.total_steps) or step == 1:
            self._log(trainer, module, step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._owes_a_step:  # nothing but the step that compiled
            self.clock.seconds += self.clock.compile_seconds

    def _leave_compiling_out(self, module: GPTModule, step: int) -> None:
        synchronize(module.device.type)
        self.progress.compiled(step, self.clock.leave_out(self._last_seconds))
        self._last_step, self._owes_a_step = step, True

    def _log(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        module.check_gradient()
        loss = mean_over_ranks(trainer, module.step_loss())
        tokens_per_step = module.config.data.batch_size * module.config.model.block_size
        seconds = self.clock.read()
        steps, took = step - self._last_step, seconds - self._last_seconds
        if self._owes_a_step and steps:
            self.clock.seconds += took / steps
            seconds, self._owes_a_step = seconds + took / steps, False
        self._last_step, self._last_seconds = step, seconds
        speed = steps * tokens_per_step / max(1e-9, took) if steps else None
        metrics = {
            "tokens": step * tokens_per_step,
            "seconds": seconds,
            "train/loss": loss,
            "train/grad_norm": float(module.grad_norm) if module.grad_norm is not None else 0.0,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
        }
        if trainer.is_global_zero:
            if speed is not None:
                peak = peak_flops(module.device.type, self.dtype) * trainer.world_size
                metrics |= {"perf/tokens_per_second": speed, "perf/mfu": speed * self.flops_per_token / peak}
            assert trainer.logger is not None
            with optional("logging the last step") if step == module.total_steps else contextlib.nullcontext():
                trainer.logger.log_metrics(metrics, step)
            self.progress.step(step, loss, speed)
            self._warn(step, steps, took)
            self._is_first_row = False

    def _warn(self, step: int, steps: int, took: float) -> None:
        """Say that the machine is busy, or that steps have become slower."""
        if self._load is not None and self._load.age >= Slowdown.SPAN and not self._is_load_said:
            self._is_load_said = True
            if busy := busy_text(self._load.others(watch=False)):
                self.progress.say(f"warning: {busy}: training is slower than on a quiet machine")
        if not self._is_first_row and (times := self._slowdown.add(steps, took)) is not None:
            why = "the machine is busy with other work, or short of memory"
            self.progress.say(f"warning: at step {step} a step takes {times:.1f} times as long as before: {why}")

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
