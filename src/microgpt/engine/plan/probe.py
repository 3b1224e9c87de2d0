"""Time a run's steps, evaluations and samples on this machine with random tokens.

The steps run as the run's own do: through Lightning, at the same precision, compiled if the run is. Writes nothing.
"""

import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from microgpt.data.windows import Windows
from microgpt.engine.fit.callbacks.base import StepCallback
from microgpt.engine.fit.finetune import starting_model
from microgpt.engine.fit.loader import Batch, TextDataModule
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.setup import TrainerSetup
from microgpt.engine.fit.trainer import build_trainer
from microgpt.engine.fit.world import World
from microgpt.engine.machine import device as machine
from microgpt.engine.machine import memory
from microgpt.engine.plan.trial import Trial
from microgpt.engine.process.cluster import Rank
from microgpt.engine.process.logs import quiet_libraries
from microgpt.engine.trained.evaluate import evaluate
from microgpt.model import GPT
from microgpt.model.generation.stream import stream

WARM = 2
"""Warm-up steps, 1 if steps are long. The first steps select kernels and allocate memory."""
FEWEST, MOST = 3, 40
"""Bounds on the number of timed steps; long steps may be timed only once."""
SECONDS = 3.0
"""Stop after this long if `FEWEST` steps are timed, after twice as long if one is."""


@dataclass(frozen=True)
class Pace:
    """Measurements in seconds and bytes."""

    step: float
    first: float
    "Seconds of the first step, which selects kernels and compiles code."
    setup: float
    "Seconds before the first step, to build the model and the trainer."
    window: float
    "Seconds to score one window in an evaluation."
    token: float
    "Seconds to generate one token of a sample."
    held_in_steps: int
    "Peak bytes held up to the last step."
    most_held: int
    "Peak bytes held up to the end."


def probe(trial: Trial) -> Pace:
    """Time a few steps of `trial`, then an evaluation and a sample."""
    config = replace(
        trial.config,
        data=replace(trial.config.data, batch_size=trial.sequences),
        trainer=replace(trial.config.trainer, micro_batch_size=trial.micro, on_nonfinite="skip"),
    )
    T = config.model.block_size
    began = time.perf_counter()
    with quiet_libraries(), memory.keep_freed_memory(), torch.random.fork_rng(_devices(trial.accelerator)):
        ids = torch.randint(trial.vocab_size, (T * max(64, trial.scored) + 1,), dtype=torch.int32)
        model = starting_model(config, trial.vocab_size, None)
        stopwatch = Stopwatch(ids, trial.scored, config.sample.max_new_tokens)
        setup = TrainerSetup(config, trial.accelerator, trial.precision, World(Rank(), 1, 1), WARM + MOST, Path())
        trainer = build_trainer(setup, False, None, [stopwatch])
        windows = Windows(ids, T, trial.sequences, config.seed, device=trainer.strategy.root_device, stream="probe")
        data = TextDataModule(windows, WARM + MOST, trainer.accumulate_grad_batches)
        trainer.fit(GPTModule(model, config, WARM + MOST, trial.compiled), datamodule=data)
    ends = stopwatch.ends
    steps = [after - before for before, after in itertools.pairwise(ends[stopwatch.warm - 1 :])]
    return Pace(
        median(steps), ends[0] - stopwatch.start, stopwatch.start - began, stopwatch.window, stopwatch.token,
        stopwatch.held_in_steps, stopwatch.most_held,
    )  # fmt: skip


class Stopwatch(StepCallback):
    """Time steps until there are enough, then time an evaluation and a sample."""

    def __init__(self, ids: Tensor, scored: int, sampled: int) -> None:
        self.ids, self.scored, self.sampled = ids, scored, sampled
        self.ends: list[float] = []
        self.start = 0.0
        self.window = self.token = 0.0
        self.held_in_steps = self.most_held = 0

    @property
    def warm(self) -> int:
        """The number of warm-up steps to leave out."""
        return 1 if self.ends[0] - self.start > SECONDS else WARM

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Any, pl_module: GPTModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch.micro < trainer.accumulate_grad_batches - 1:
            return
        device = pl_module.device.type
        machine.synchronize(device)
        self.ends.append(time.perf_counter())
        timed, seconds = len(self.ends) - self.warm, self.ends[-1] - self.start
        if timed < MOST and (timed < FEWEST or seconds < SECONDS) and (timed < 1 or seconds < 2 * SECONDS):
            return
        trainer.should_stop = True
        self.held_in_steps = memory.most_held(device)
        with pl_module.averaged() as model:
            self._time_evaluation(trainer, model)
            self._time_sample(model)
        self.most_held = memory.most_held(device)

    def _time_evaluation(self, trainer: Any, model: GPT) -> None:
        T = model.config.block_size
        for windows in (1, self.scored) if self.scored else ():  # the first pass is a warm-up
            start = time.perf_counter()
            evaluate(model, self.ids[: windows * T + 1], batch_size=windows,
                     context=trainer.precision_plugin.forward_context())  # fmt: skip
            self.window = (time.perf_counter() - start) / windows

    def _time_sample(self, model: GPT) -> None:
        start = time.perf_counter()
        for made, tokens in enumerate(stream(model, self.ids[:1, None].long(), self.sampled), 1):
            tokens.tolist()
            self.token = (time.perf_counter() - start) / made
            if made >= 8 and time.perf_counter() - start > SECONDS / 3:
                break


def _devices(accelerator: str) -> list[int]:
    return [torch.cuda.current_device()] if accelerator == "cuda" else []
