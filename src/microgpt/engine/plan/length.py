"""The number of optimizer steps, and whether compiling pays off within them."""

import math

import torch

from microgpt.engine.config import RunConfig
from microgpt.engine.machine import device as machine
from microgpt.model.generation.compiled import can_compile
from microgpt.model.kernels import hardware


def total_steps(config: RunConfig, epoch_windows: int) -> int:
    """Count the run's optimizer steps. An epoch has one window for each position where a window can start."""
    if config.trainer.max_steps is not None:
        return config.trainer.max_steps
    return max(1, math.ceil(config.trainer.max_epochs * epoch_windows / config.data.batch_size))


COMPILE_PAYS_AFTER = 120.0
"""Seconds of expected training above which compiling pays off. On two cores compiling takes 15 to 30 s and saves 4 to
41 % of a step's time."""


def compiling_pays(config: RunConfig, steps: int, flops_per_token: float, peak: float, share: float) -> bool:
    """Whether a run is long enough to compile, if an eager step reaches `share` of the device's peak FLOP/s."""
    tokens = steps * config.data.batch_size * config.model.block_size
    return tokens * flops_per_token / (share * peak) / config.world_size_hint() > COMPILE_PAYS_AFTER


def will_compile(
    knob: bool | str, config: RunConfig, steps: int, flops_per_token: float, accelerator: str, precision: str
) -> bool:
    """Whether to compile: `trainer.compile` decides; `auto` compiles when the run is long enough."""
    if knob != "auto":
        return bool(knob)
    here, dtype = hardware.of(accelerator), machine.autocast_dtype(precision)
    # A table's peak, not a measured one: compiled code rounds differently, and load must not change a run's bits.
    is_cpu = accelerator == "cpu"
    peak = here.cpu_flops(dtype, torch.get_num_threads()) if is_cpu else machine.peak_flops(accelerator, dtype)
    return can_compile(accelerator) and compiling_pays(config, steps, flops_per_token, peak, here.share_of_peak)
