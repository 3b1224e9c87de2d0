"""What this machine is and does best: device, precision, peak arithmetic. Needs torch alone."""

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
    # Dense bf16 FLOP/s from the makers' data sheets, by a word in the device's name; the first match counts.
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
    """The torch device type for `trainer.accelerator` or a command's `--device`: "cuda", "mps" or "cpu".

    Raises:
        MachineError: when the machine has no such device.
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
    """The number of processes on this node.

    Args:
        started: how many srun or torchrun has started here; `auto` means these.

    Raises:
        MachineError: when more GPUs are asked for than there are.
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
    """The precision that `trainer.precision` means on this device.

    Raises:
        MachineError: when the device cannot do what was asked for.
    """
    if knob == "auto":
        if hardware.of(accelerator).has_bf16:
            return "bf16-mixed"
        return "16-mixed" if accelerator == "cuda" else "32-true"
    if knob == "16-mixed" and accelerator == "cpu":
        raise MachineError("trainer.precision=16-mixed needs a GPU", "this machine", "take bf16-mixed or 32-true")
    if knob == "64-true" and accelerator == "mps":
        raise MachineError("trainer.precision=64-true is not to be had on mps", "this machine", "take 32-true")
    if knob.startswith("bf16") and accelerator == "cuda" and not hardware.of("cuda").has_bf16:
        raise MachineError(f"trainer.precision={knob} needs a GPU with bf16 units", "this machine", "take 16-mixed")
    return knob


def emulation_warning(accelerator: str, dtype: torch.dtype) -> str:
    """A line that says how much slower products in `dtype` are where they are emulated; empty where they are not."""
    if not hardware.of(accelerator).emulates(dtype):
        return ""
    times = _seconds_of_product(accelerator, dtype, 128) / _seconds_of_product(accelerator, torch.float32, 128)
    name = str(dtype).removeprefix("torch.")
    return f"this CPU has no {name} units: a {name} product takes about {times:.0f} times as long as one in float32"


def peak_flops(accelerator: str, dtype: torch.dtype) -> float:
    """Peak FLOP/s of one device: a GPU's from its data sheet, else the best of a few measured products. For a format
    that the device emulates it is the peak of float32, the most that its arithmetic allows."""
    if hardware.of(accelerator).emulates(dtype):
        dtype = torch.float32
    return _peak_flops(accelerator, dtype, torch.get_num_threads())


@functools.cache
def _peak_flops(accelerator: str, dtype: torch.dtype, _threads: int) -> float:
    # The number of threads is a key of the cache: a measured peak grows with it.
    if accelerator == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((flops for word, flops in _PEAK_BF16.items() if word in name), None)
        if peak is not None:
            return peak if dtype in (torch.bfloat16, torch.float16) else peak / 2
    n = 4096 if accelerator == "cuda" else 768
    return float(2 * n**3 / _seconds_of_product(accelerator, dtype, n))


def _seconds_of_product(accelerator: str, dtype: torch.dtype, n: int) -> float:
    """The least time that a product of two n x n matrices took."""
    generator = torch.Generator().manual_seed(0)  # its own: nobody else's draws are to change
    a, b = (torch.randn(n, n, generator=generator).to(accelerator, dtype) for _ in range(2))
    best, began, tries = float("inf"), time.perf_counter(), 0
    while tries < 6 or (time.perf_counter() - began < 0.1 and tries < 100):  # on a busy machine the best comes late
        synchronize(accelerator)
        start = time.perf_counter()
        torch.mm(a, b)
        synchronize(accelerator)
        best, tries = min(best, time.perf_counter() - start), tries + 1
    return best


def synchronize(accelerator: str) -> None:
    """Wait until the device has done all that it was told to."""
    if accelerator != "cpu":
        getattr(torch, accelerator).synchronize()


@contextlib.contextmanager
def threads(knob: int | str) -> Iterator[None]:
    """Inside, torch computes on a CPU with this many threads; "auto" leaves its own choice, a function of the machine
    and OMP_NUM_THREADS. How many there are decides the order of sums, and so the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if knob == "auto" else int(knob))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def float32_matmul_precision(setting: str | None) -> Iterator[None]:
    """Inside, torch's setting of this name is another; None leaves it alone.

    Raises:
        UsageError: the process has set these products by torch's newer names, which cannot be mixed with this one.
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
    """What must be equal for a resumed run to continue bit for bit: the machine, and the facts of the run."""
    device = torch.cuda.get_device_name() if accelerator == "cuda" else f"{accelerator} {platform.machine()}"
    threads = torch.get_num_threads() if accelerator == "cpu" else 0
    return {
        "device": device, "threads": threads, "torch": torch.__version__,
        "float32_matmul_precision": _float32_products(), **facts,
    }  # fmt: skip


def _float32_products() -> str:
    """How float32 matrices are multiplied, by torch's older name for it or its newer ones."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        gpu, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        return f"cuda {gpu.fp32_precision}, cpu {cpu.fp32_precision}"


def autocast_dtype(precision: str) -> torch.dtype:
    """The number format of the matrix products under a precision."""
    return {"32": torch.float32, "64": torch.float64, "16": torch.float16}.get(precision.split("-")[0], torch.bfloat16)
