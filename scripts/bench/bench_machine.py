"""What this machine is and what it can do at best: the limits that every benchmark's figures are held against."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from microgpt.model.kernels import hardware


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], Any], device: str, times: int = 1) -> float:
    """Seconds that one call takes, from `times` calls in a row."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / times


def formats(device: str) -> dict[str, torch.dtype]:
    """The number formats worth measuring: those that the device does not emulate."""
    known = {"bf16": torch.bfloat16, "fp32": torch.float32}
    return {name: dtype for name, dtype in known.items() if not hardware.of(device).emulates(dtype)}


def precisions(device: str) -> list[str]:
    """The precisions that benchmarks train in unless others are named."""
    return ["32-true", *(["bf16-mixed", "bf16-true"] if "bf16" in formats(device) else [])]


def limits(device: str, quick: bool) -> dict[str, float]:
    """What the machine can do at best: FLOP/s of square matrix products in each format that it does not emulate, and in
    the fastest of them; bytes/s read and copied in main memory."""
    sizes = (256,) if quick else (4096, 8192) if device == "cuda" else (768, 1536, 3072)
    times = 10 if device == "cuda" else 1
    found = {}
    for name, dtype in formats(device).items():
        best = 0.0
        for n in sizes:
            a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            best = max(best, *(2 * n**3 / seconds_of(lambda a=a, b=b: a @ b, device, times) for _ in range(6)))  # type: ignore[misc]
        found[f"{name} FLOP/s"] = best
    found["best FLOP/s"] = max(found.values())
    n_bytes = 2**20 if quick else 2**32 if device == "cuda" else 2**28
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.zeros_like(source)
    found["copied bytes/s"] = max(2 * n_bytes / seconds_of(lambda: target.copy_(source), device) for _ in range(6))
    found["read bytes/s"] = max(reading_rate(device, n_bytes), n_bytes / seconds_of(source.sum, device))
    return found


def reading_rate(device: str, n_bytes: float) -> float:
    """Bytes/s at which weights of this size in all are read by matrix-vector products, from a cache if they fit."""
    width = 512 if n_bytes < 2**24 else 1024 if n_bytes < 2**28 else 4096
    vector = torch.ones(width, device=device)
    weights = [torch.ones(width, width, device=device) for _ in range(max(1, round(n_bytes / 4 / width**2)))]
    read = 4 * width**2 * len(weights)
    return max(read / seconds_of(lambda: [torch.mv(w, vector) for w in weights], device) for _ in range(6))


PEAK_MEMORY = """
def peak_memory():
    import resource, sys
    try:  # ru_maxrss of a new process starts at that of the one that started it
        with open("/proc/self/status") as file:
            return int(file.read().split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
"""Code for a process that measures its own memory: bytes that it has held at most."""


def child(code: str, *arguments: str) -> Any:
    """Run code in a process of its own, with `peak_memory` at hand; the JSON that it prints last."""
    command = [sys.executable, "-c", PEAK_MEMORY + code, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def cpu_seconds() -> tuple[float, float] | None:
    """Seconds that all processors have worked since the machine started, and of them this process and its children."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _waiting, irq, softirq = ticks
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def machine(device: str) -> dict[str, Any]:
    """What a figure must be quoted with."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def load() -> float:
    """The machine's load average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan")
