"""What every benchmark shares: its arguments, alternating runs, the limits of the machine, tables and JSON.

Contestants take turns (A B A B ...), so that a machine that slows down slows all of them; figures are medians over
the rounds with their spread, ratios are medians of each round's own. The peak of matrix products and of memory is
measured in the same run, so that every figure also reads as a share of what the machine can do.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch


@dataclass(frozen=True)
class Spread:
    """One figure, measured in every round."""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def over(self, other: "Spread") -> float:
        """How many times `other` this is: the median of the rounds' ratios."""
        return statistics.median(a / b for a, b in zip(self.values, other.values, strict=True))

    def inverse(self, amount: float = 1.0) -> "Spread":
        """Seconds as a rate: `amount` a second."""
        return Spread([amount / value for value in self.values])


def alternate(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, Spread]:
    """Let the contestants take turns; each call returns a figure such as seconds per step."""
    values: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            values[name].append(run())
    return {name: Spread(found) for name, found in values.items()}


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


def limits(device: str, quick: bool) -> dict[str, float]:
    """What the machine can do at best: FLOP/s of square matrix products, bytes/s read and copied in main memory."""
    sizes = (256,) if quick else (4096, 8192) if device == "cuda" else (768, 1536, 3072)
    times = 10 if device == "cuda" else 1
    found = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        best = 0.0
        for n in sizes:
            a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            best = max(best, *(2 * n**3 / seconds_of(lambda a=a, b=b: a @ b, device, times) for _ in range(6)))  # type: ignore[misc]
        found[f"{name} FLOP/s"] = best
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


@dataclass
class Bench:
    """One benchmark from its arguments to its report; a context manager that writes JSON at its end."""

    name: str
    description: str
    argv: Sequence[str] | None = None
    arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None
    results: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        parser = argparse.ArgumentParser(description=self.description.splitlines()[0])
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)")
        parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
        parser.add_argument("--rounds", type=int, metavar="N", help="turns of each contestant (default 3)")
        parser.add_argument("--seconds", type=float, metavar="S", help="length of a turn, at least (default 4)")
        parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout of nanoGPT to compare with")
        parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the figures as JSON")
        self.arguments(parser)
        self.args = parser.parse_args(self.argv)
        if self.args.nanogpt is not None:
            self.args.nanogpt = self.args.nanogpt.resolve()
            if not (self.args.nanogpt / "train.py").is_file():
                parser.error(f"--nanogpt {self.args.nanogpt}: no train.py in it")
        self.quick = self.args.quick
        self.rounds = self.args.rounds or (1 if self.quick else 3)
        self.seconds = self.args.seconds or (0.02 if self.quick else 4.0)
        if self.args.threads:
            os.environ["OMP_NUM_THREADS"] = str(self.args.threads)  # for the processes that this one starts
            torch.set_num_threads(self.args.threads)
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = auto if self.args.device == "auto" else self.args.device
        self._scratch = tempfile.TemporaryDirectory(prefix="microgpt-bench-")
        self.folder = Path(self._scratch.name)
        self._cpu, self._start, self._load = cpu_seconds(), time.perf_counter(), load()
        self.machine = machine(self.device)
        self.limits = limits(self.device, self.quick)
        print(f"{self.name}: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()))
        print("limits: " + ", ".join(f"{value:.3g} {key}" for key, value in self.limits.items()), flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scratch.cleanup()
        wall = time.perf_counter() - self._start
        loads = {"load before": self._load, "load after": load(), "seconds": round(wall, 1)}
        if self._cpu is not None and (now := cpu_seconds()) is not None:
            others = now[0] - self._cpu[0] - (now[1] - self._cpu[1])
            loads["cores busy with other work"] = round(max(0.0, others / wall), 2)
        for claim in self.claims:
            print(f"{'ok  ' if claim['ok'] else 'MISS'} {claim['what']}: {claim['value']:.4g} (goal {claim['goal']})")
        print(", ".join(f"{key} {value}" for key, value in loads.items()), flush=True)
        if self.args.out and kind is None:
            self.args.out.parent.mkdir(parents=True, exist_ok=True)
            facts = {"bench": self.name, "command": sys.argv, "machine": {**self.machine, **loads}}
            figures = {"limits": self.limits, "claims": self.claims, "results": self.results}
            self.args.out.write_text(json.dumps(facts | figures, indent=1, default=vars) + "\n", encoding="utf-8")

    def table(self, title: str, rows: list[dict[str, Any]]) -> None:
        """Print rows as a table, its columns the rows' keys, and keep them for the JSON."""
        self.results[title] = rows
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [columns, *([shown(row.get(column, "")) for column in columns] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        print(f"\n{title}")
        for line in cells:
            first, *rest = (
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            print("  " + "  ".join([first, *rest]))
        print(flush=True)

    def claim(self, what: str, value: float, at_least: float | None = None, at_most: float | None = None) -> None:
        """Hold a figure against a goal of the project."""
        ok = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        goal = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
        self.claims.append({"what": what, "value": value, "goal": goal, "ok": ok})


def load() -> float:
    """The machine's load average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else float("nan")


def shown(value: Any) -> str:
    """A cell of a table."""
    if isinstance(value, Spread) and len(value.values) == 1:
        return shown(value.median)
    if isinstance(value, Spread):
        return f"{shown(value.median)} ({shown(value.low)}..{shown(value.high)})"
    return (
        f"{value:,.0f}"
        if isinstance(value, float) and abs(value) >= 1000
        else f"{value:.4g}"
        if isinstance(value, float)
        else str(value)
    )
