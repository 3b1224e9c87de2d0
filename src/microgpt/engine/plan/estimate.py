"""Time and memory of a run's steps, from a few steps on random tokens: of the run's own batch where one takes a few
seconds at most, else of two smaller batches, from which time follows linearly, and memory as the tensors of a step.
"""

import gc
from dataclasses import dataclass, replace

import torch

from microgpt.engine.machine import memory
from microgpt.engine.plan.footprint import Footprint, footprint
from microgpt.engine.plan.probe import Pace, probe
from microgpt.engine.plan.trial import Trial
from microgpt.model.kernels import hardware

WHOLE_STEP, PART_STEP, LONGEST_STEP = 2.0, 1.0, 10.0
"""Seconds: up to the first a step is tried as it is, else parts of it that take about the second; a single sequence
is tried up to the third."""
GAPS = {"cpu": 1.4}
"""What a process grows by for each further byte of tensors, as the allocator's gaps grow with them: 1.3 and 1.6 were
measured for 6 layers of 384, 32 x 128 tokens, in two precisions. On a GPU tensors alone are counted."""


@dataclass(frozen=True)
class Estimate:
    """For one device. What could not be found out is None."""

    tensors: Footprint | None
    held: int
    "Bytes of the process before the model is made."
    growth: int | None
    "Bytes by which the process grows, at its peak."
    tried: tuple[int, ...]
    "Sequences of the steps that were tried."
    pace: Pace | None
    step: float
    "Seconds of a step."

    def sharded(self, devices: int) -> "Estimate":
        """About the same for each of so many devices that share weights, gradients and optimizer state."""
        if self.tensors is None:
            return self
        tensors = self.tensors.sharded(devices)
        growth = None if self.growth is None else self.growth + tensors.peak - self.tensors.peak
        return replace(self, tensors=tensors, growth=growth)


def estimate(whole: Trial, flops: float, peak: float) -> Estimate:
    """What a step takes on one device.

    Args:
        whole: the step and the evaluation as the run makes them.
        flops: of one token.
        peak: FLOP/s of the device.
    """
    accelerator, share, T = whole.accelerator, whole.sequences, whole.config.model.block_size
    held = memory.held(accelerator)
    in_all = footprint(whole)
    # Seconds a sequence. Where a format is emulated the peak, which is that of float32, says little.
    guess = flops * T / peak / hardware.of(accelerator).share_of_peak
    scored = min(whole.scored, max(1, int(2 * WHOLE_STEP / (guess / 3))))  # forward is a third of a step
    trials = [replace(whole, sequences=n, micro=m, scored=0) for n, m in sizes_to_try(share, whole.micro, guess)]
    tried = in_all
    if trials:
        trials[-1] = replace(trials[-1], scored=scored)
        tried = in_all if trials[-1] == whole else footprint(trials[-1])
    room = memory.available(accelerator)
    if not trials or (tried is not None and room is not None and tried.peak > 0.8 * room):
        return Estimate(in_all, held, None, (), None, guess * share)
    before = memory.held(accelerator)
    paces: list[Pace] = []
    for trial in trials:
        if trial.compiled:
            torch.compiler.reset()  # else the second size would be compiled for any size, which is slower
        gc.collect()  # what the size before has left goes by itself only rarely
        paces.append(probe(trial))
    growth = paces[-1].most_held - before
    if in_all is not None and tried is not None:
        growth = whole_growth(in_all, tried, paces[-1], before, GAPS.get(accelerator, 1.0))
    sizes = [trial.sequences for trial in trials]
    step = linear(sizes, [pace.step for pace in paces], share)
    return Estimate(in_all, held, growth, tuple(sizes), paces[-1], step)


def whole_growth(whole: Footprint, tried: Footprint, pace: Pace, before: int, gaps: float) -> int:
    """Bytes by which a run makes the process grow, from what was tried when it held `before`."""
    in_steps = pace.held_in_steps - before + gaps * (whole.training - tried.training)
    in_all = float(pace.most_held - before)
    if whole.peak > whole.training:  # an evaluation takes the most
        in_all += gaps * (whole.peak - tried.peak)
    return round(max(in_steps, in_all))


def sizes_to_try(share: int, micro: int, guess: float) -> list[tuple[int, int]]:
    """Sequences of a step, and of them at once, for the steps to be tried, when one sequence takes `guess` seconds."""
    if guess * share <= WHOLE_STEP:
        return [(share, micro)]
    if guess > WHOLE_STEP / 2:
        return [(1, 1)] if guess <= LONGEST_STEP else []
    n = max(1, int(PART_STEP / guess))
    if n >= micro or (2 * micro <= share and guess * micro <= WHOLE_STEP):
        k = max(2, n // micro)
        return [(k // 2 * micro, micro), (k * micro, micro)]
    n = max(2, min(n, share))
    return [(n // 2, n // 2), (n, n)]


def linear(sizes: list[int], measured: list[float], size: int) -> float:
    """What `size` takes, on the line through what was measured; in proportion where that is one point."""
    slope = measured[-1] / sizes[-1]
    if sizes[-1] > sizes[0] and measured[-1] > measured[0]:  # not by noise the other way
        slope = (measured[-1] - measured[0]) / (sizes[-1] - sizes[0])
    return measured[-1] + slope * (size - sizes[-1])
