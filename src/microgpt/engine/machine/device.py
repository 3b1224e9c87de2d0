"""Choose this machine's device, precision and threads, and find its peak FLOP/s. Imports torch alone."""

import contextlib
import functools
import os
import platform
import time
from collections.abc import Iterator
from typing import Any

import torch

from microgpt.errors import MachineError, UsageError
from microgpt.model.kernels import hardware

_PEAK_BF16 = {
    # Dense bf16 FLOP/s from vendors' data sheets, by a word in the device's name. The first match counts.
    "H200": 989e12,
    "GH200": 989e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10": 125e12,
    "4090": 165e12,
    "3090": 71e12,
    "V100": 125e12,
    "T4": 65e12,
}


def resolve_accelerator(knob: str) -> str:
    """Resolve `trainer.accelerator` or a command's `--device` to a torch device type: "cuda", "mps" or "cpu".

    Raises:
        MachineError: the machine has no such device.
    """
    name = {"gpu": "cuda"}.get(knob, knob)
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in have.items() if there)
    if not have[name]:
        there = ", ".join(device for device, present in have.items() if present)
        raise MachineError(f"no {name} device", "this machine", f"it has {there}: take accelerator=auto or device auto")
    return name


def resolve_devices(knob: int | str, accelerator: str, started: int = 0) -> int:
    """Resolve `trainer.devices` to the number of processes on this node.

    Args:
        started: the number of processes that srun or torchrun started here; `auto` takes it.

    Raises:
        MachineError: the node has fewer GPUs than requested.
    """
    count = {"cuda": torch.cuda.device_count(), "mps": 1}.get(accelerator, 1)
    if knob == "auto":
        return started or count
    if accelerator != "cpu" and int(knob) > count:
        raise MachineError(
            f"trainer.devices={knob}, but there are {count} {accelerator} devices",
            "this machine",
            f"take trainer.devices={count} or auto",
        )
    return int(knob)


def resolve_precision(knob: str, accelerator: str) -> str:
    """Resolve `trainer.precision` to a precision of this device.

    Raises:
        MachineError: the device does not support the requested precision.
    """
    if knob == "auto":
        if hardware.of(accelerator).has_bf16:
            return "bf16-mixed"
        return "16-mixed" if accelerator == "cuda" else "32-true"
    if knob == "16-mixed" and accelerator == "cpu":
        raise MachineError("trainer.precision=16-mixed needs a GPU", "this machine", "take bf16-mixed or 32-true")
    if knob == "64-true" and accelerator == "mps":
        raise MachineError("mps has no float64 for trainer.precision=64-true", "this machine", "take 32-true")
    if knob.startswith("bf16") and accelerator == "cuda" and not hardware.of("cuda").has_bf16:
        raise MachineError(f"trainer.precision={knob} needs a GPU with bf16 units", "this machine", "take 16-mixed")
    return knob


def emulation_warning(accelerator: str, dtype: torch.dtype) -> str:
    """Return a warning on how much slower emulated products in `dtype` are; empty if the device has `dtype` units."""
    if not hardware.of(accelerator).emulates(dtype):
        return ""
    times = _seconds_of_product(accelerator, dtype, 128) / _seconds_of_product(accelerator, torch.float32, 128)
    name = str(dtype).removeprefix("torch.")
    return f"this CPU has no {name} units: a {name} product takes about {times:.0f} times as long as one in float32"


def peak_flops(accelerator: str, dtype: torch.dtype) -> float:
    """Return one device's peak FLOP/s: a GPU's from its data sheet, otherwise the best of a few measured products.

    An emulated format has the float32 peak, an upper bound.
    """
    if hardware.of(accelerator).emulates(dtype):
        dtype = torch.float32
    return _peak_flops(accelerator, dtype, torch.get_num_threads())


@functools.cache
def _peak_flops(accelerator: str, dtype: torch.dtype, _threads: int) -> float:
    # The cache needs the number of threads as a key: a measured peak grows with it.
    if accelerator == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((flops for word, flops in _PEAK_BF16.items() if word in name), None)
        if peak is not None:
            return peak if dtype in (torch.bfloat16, torch.float16) else peak / 2
    n = 4096 if accelerator == "cuda" else 768
    return float(2 * n**3 / _seconds_of_product(accelerator, dtype, n))


def _seconds_of_product(accelerator: str, dtype: torch.dtype, n: int) -> float:
    """Measure the shortest time of a product of two n x n matrices."""
    generator = torch.Generator().manual_seed(0)  # a private generator leaves all other random draws unchanged
    a, b = (torch.randn(n, n, generator=generator).to(accelerator, dtype) for _ in range(2))
    best, began, tries = float("inf"), time.perf_counter(), 0
    while tries < 6 or (time.perf_counter() - began < 0.1 and tries < 100):  # a busy machine needs many tries
        synchronize(accelerator)
        start = time.perf_counter()
        torch.mm(a, b)
        synchronize(accelerator)
        best, tries = min(best, time.perf_counter() - start), tries + 1
    return best


def synchronize(accelerator: str) -> None:
    """Wait until the device has finished all queued work."""
    if accelerator != "cpu":
        getattr(torch, accelerator).synchronize()


@contextlib.contextmanager
def threads(knob: int | str) -> Iterator[None]:
    """Set torch's number of CPU threads inside the block.

    "auto" keeps torch's own choice, which depends on the machine and OMP_NUM_THREADS. The number of threads determines
    the order of sums, and so the last bits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(before if knob == "auto" else int(knob))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Count the processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def float32_matmul_precision(setting: str | None) -> Iterator[None]:
    """Change torch's setting of this name inside the block; None keeps it.

    Raises:
        UsageError: the process uses torch's newer names for this setting, which torch does not mix with the older one.
    """
    if setting is None:
        yield
        return
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:
        what = "torch.backends.*.fp32_precision is set in this process"
        raise UsageError(what, "trainer.float32_matmul_precision", "leave one of the two out") from None
    torch.set_float32_matmul_precision(setting)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def fingerprint(accelerator: str, **facts: Any) -> dict[str, Any]:
    """Collect the facts of machine and run that must match for a resumed run to continue bit for bit."""
    device = torch.cuda.get_device_name() if accelerator == "cuda" else f"{accelerator} {platform.machine()}"
    threads = torch.get_num_threads() if accelerator == "cpu" else 0
    return {
        "device": device, "threads": threads, "torch": torch.__version__,
        "float32_matmul_precision": _float32_products(), **facts,
    }  # fmt: skip


def _float32_products() -> str:
    """Return torch's precision of float32 matrix products, by its older name or its newer ones."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        gpu, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        return f"cuda {gpu.fp32_precision}, cpu {cpu.fp32_precision}"


def autocast_dtype(precision: str) -> torch.dtype:
    """Return the number format of matrix products under a precision."""
    return {"32": torch.float32, "64": torch.float64, "16": torch.float16}.get(precision.split("-")[0], torch.bfloat16)
