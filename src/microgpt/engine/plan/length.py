"""How long a run is: its steps, and whether they are enough for compiling to pay."""

import math

import torch

from microgpt.engine.config import RunConfig
from microgpt.engine.machine import device as machine
from microgpt.model.generation.compiled import can_compile
from microgpt.model.kernels import hardware


def total_steps(config: RunConfig, epoch_windows: int) -> int:
    """Optimizer steps of the whole run; an epoch is as many windows as the text has places to start one."""
    if config.trainer.max_steps is not None:
        return config.trainer.max_steps
    return max(1, math.ceil(config.trainer.max_epochs * epoch_windows / config.data.batch_size))


COMPILE_PAYS_AFTER = 120.0
"""Seconds of expected training from which compiling is worth it. On two cores it takes 18 to 46 s and saves 28 % of a
step of the default run in float32, 35 % in bfloat16."""


def compiling_pays(config: RunConfig, steps: int, flops_per_token: float, peak: float, share: float) -> bool:
    """Whether a run is long enough to be compiled, where an eager step reaches this share of a device's peak."""
    tokens = steps * config.data.batch_size * config.model.block_size
    return tokens * flops_per_token / (share * peak) / config.world_size_hint() > COMPILE_PAYS_AFTER


def will_compile(
    knob: bool | str, config: RunConfig, steps: int, flops_per_token: float, accelerator: str, precision: str
) -> bool:
    """Whether to compile: as `trainer.compile` says, and for `auto` when the run is long enough to pay for it."""
    if knob != "auto":
        return bool(knob)
    here, dtype = hardware.of(accelerator), machine.autocast_dtype(precision)
    # Not what is measured now: compiled code rounds otherwise, and a busy machine must not change a run's bits.
    is_cpu = accelerator == "cpu"
    peak = here.cpu_flops(dtype, torch.get_num_threads()) if is_cpu else machine.peak_flops(accelerator, dtype)
    return can_compile(accelerator) and compiling_pays(config, steps, flops_per_token, peak, here.share_of_peak)
