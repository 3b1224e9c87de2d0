"""How long a run is: its steps, and whether they are enough for compiling to pay."""

import math

from microgpt.engine import machine
from microgpt.engine.config import RunConfig
from microgpt.model.compiled import can_compile


def total_steps(config: RunConfig, epoch_windows: int) -> int:
    """Optimizer steps of the whole run; an epoch is as many windows as the text has places to start one."""
    if config.trainer.max_steps is not None:
        return config.trainer.max_steps
    return max(1, math.ceil(config.trainer.max_epochs * epoch_windows / config.data.batch_size))


COMPILE_PAYS_AFTER = 120.0
"""Seconds of expected training from which compiling, which takes some 20 s, is worth it."""


def compiling_pays(config: RunConfig, steps: int, flops_per_token: float, peak: float) -> bool:
    """Whether a run is long enough to be compiled, at a third of each device's peak arithmetic."""
    tokens = steps * config.data.batch_size * config.model.block_size
    return 3 * tokens * flops_per_token / peak / config.world_size_hint() > COMPILE_PAYS_AFTER


def will_compile(
    knob: bool | str, config: RunConfig, steps: int, flops_per_token: float, accelerator: str, precision: str
) -> bool:
    """Whether to compile: as `trainer.compile` says, and for `auto` when the run is long enough to pay for it."""
    if knob != "auto":
        return bool(knob)
    peak = machine.peak_flops(accelerator, machine.autocast_dtype(precision))
    return can_compile(accelerator) and compiling_pays(config, steps, flops_per_token, peak)
