"""Estimate the time and memory of a run's steps from a few steps on random tokens.

A step that takes at most a few seconds is tried with the run's own batch. A longer one is tried with two smaller
batches: time is extrapolated linearly, memory by the size of a step's tensors.
"""

import gc
from dataclasses import dataclass, replace

from microgpt.engine.machine import memory
from microgpt.engine.plan.footprint import Footprint, footprint
from microgpt.engine.plan.probe import Pace, probe
from microgpt.engine.plan.trial import Trial
from microgpt.model.kernels import hardware

WHOLE_STEP, PART_STEP, LONGEST_STEP = 2.0, 1.0, 10.0
"""Seconds. A step shorter than `WHOLE_STEP` is tried whole, a longer one in parts of about `PART_STEP`. A single
sequence is tried if it takes at most `LONGEST_STEP`."""
GAPS = {"cpu": 1.4}
"""Growth of the process per additional byte of tensors, since gaps in the allocator's heap grow with the tensors.
Measured: 1.3 and 1.6 for 6 layers of width 384, 32 x 128 tokens, in two precisions. On a GPU only tensors count."""


@dataclass(frozen=True)
class Estimate:
    """Time and memory on one device; None marks an unknown value."""

    tensors: Footprint | None
    held: int
    "Bytes that the process holds before the model exists."
    growth: int | None
    "Bytes that the process adds to `held` at its peak."
    tried: tuple[int, ...]
    "Sequences per step in each trial."
    pace: Pace | None
    step: float
    "Seconds per step."

    def sharded(self, devices: int) -> "Estimate":
        """Approximate one device's estimate with weights, gradients and optimizer state sharded over `devices`."""
        if self.tensors is None:
            return self
        tensors = self.tensors.sharded(devices)
        growth = None if self.growth is None else self.growth + tensors.peak - self.tensors.peak
        return replace(self, tensors=tensors, growth=growth)


def estimate(whole: Trial, flops: float, peak: float) -> Estimate:
    """Estimate the time and memory of a step on one device.

    Args:
        whole: the run's own step and evaluation.
        flops: FLOPs per token.
        peak: the device's peak FLOP/s.
    """
    accelerator, share, T = whole.accelerator, whole.sequences, whole.config.model.block_size
    held = memory.held(accelerator)
    in_all = footprint(whole)
    # Seconds per sequence. The guess is poor for an emulated format, whose `peak` is the float32 peak.
    guess = flops * T / peak / hardware.of(accelerator).share_of_peak
    scored = min(whole.scored, max(1, int(2 * WHOLE_STEP / (guess / 3))))  # a forward pass is a third of a step
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
        gc.collect()  # the previous trial leaves cycles that Python rarely collects by itself
        paces.append(probe(trial))
    growth = paces[-1].most_held - before
    if in_all is not None and tried is not None:
        growth = whole_growth(in_all, tried, paces[-1], before, GAPS.get(accelerator, 1.0))
    sizes = [trial.sequences for trial in trials]
    step = linear(sizes, [pace.step for pace in paces], share)
    return Estimate(in_all, held, growth, tuple(sizes), paces[-1], step)


def whole_growth(whole: Footprint, tried: Footprint, pace: Pace, before: int, gaps: float) -> int:
    """Extrapolate the process's growth in bytes from a trial that began when the process held `before`."""
    in_steps = pace.held_in_steps - before + gaps * (whole.training - tried.training)
    in_all = float(pace.most_held - before)
    if whole.peak > whole.training:  # the peak is in an evaluation
        in_all += gaps * (whole.peak - tried.peak)
    return round(max(in_steps, in_all))


def sizes_to_try(share: int, micro: int, guess: float) -> list[tuple[int, int]]:
    """Choose the trials: (sequences per step, sequences per micro-batch), if one sequence takes `guess` seconds."""
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
    """Extrapolate linearly to `size` from the first and last measurement; from one point, in proportion to size."""
    slope = measured[-1] / sizes[-1]
    if sizes[-1] > sizes[0] and measured[-1] > measured[0]:  # noise can reverse the order
        slope = (measured[-1] - measured[0]) / (sizes[-1] - sizes[0])
    return measured[-1] + slope * (size - sizes[-1])
