"""What every benchmark shares: its arguments, alternating runs, the limits of the machine, tables and JSON.

Contestants take turns (A B A B ...), so that a machine that slows down slows all of them; figures are medians over
the rounds with their spread, ratios are medians of each round's own. The peak of matrix products and of memory is
measured in the same run, so that every figure also reads as a share of what the machine can do.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bench_machine import cpu_seconds, limits, load, machine, precisions

PEERS = {"nanogpt": "train.py", "mingpt": "mingpt/model.py", "litgpt": "litgpt/model.py"}
"""Those that are read from a checkout, which the user names, and a file that each has."""


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
            print(f"  {name}: {shown(values[name][-1])}", flush=True)
    return {name: Spread(found) for name, found in values.items()}


@dataclass
class Bench:
    """One benchmark from its arguments to its report; a context manager that writes JSON at its end."""

    name: str
    description: str
    argv: Sequence[str] | None = None
    arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None
    has_limits: bool = True
    results: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        parser = argparse.ArgumentParser(description=self.description.splitlines()[0])
        parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's own choice)")
        parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
        parser.add_argument("--rounds", type=int, metavar="N", help="turns of each contestant (default 3)")
        parser.add_argument("--seconds", type=float, metavar="S", help="length of a turn, at least (default 4)")
        for name in PEERS:
            parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="a checkout of it to compare with")
        parser.add_argument("--out", type=Path, metavar="FILE", help="where to write the figures as JSON")
        self.arguments(parser)
        self.args = parser.parse_args(self.argv)
        for name, file in PEERS.items():
            if (folder := getattr(self.args, name)) is not None:
                setattr(self.args, name, folder.resolve())
                if not (folder / file).is_file():
                    parser.error(f"--{name} {folder}: no {file} in it")
        self.quick = self.args.quick
        self.rounds = self.args.rounds or (1 if self.quick else 3)
        self.seconds = self.args.seconds or (0.02 if self.quick else 4.0)
        if self.args.threads:
            os.environ["OMP_NUM_THREADS"] = str(self.args.threads)  # for the processes that this one starts
            torch.set_num_threads(self.args.threads)
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = auto if self.args.device == "auto" else self.args.device
        if getattr(self.args, "precisions", self) is None:
            self.args.precisions = precisions(self.device)
        self._scratch = tempfile.TemporaryDirectory(prefix="microgpt-bench-")
        self.folder = Path(self._scratch.name)
        self._cpu, self._start, self._load = cpu_seconds(), time.perf_counter(), load()
        self.machine = machine(self.device)
        self.limits = limits(self.device, self.quick) if self.has_limits else {}
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
