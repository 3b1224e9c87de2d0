"""How long a user waits: for the help, an import, the first training step of a command, and a generated text.

    python scripts/bench/bench_startup.py [--out FILE]

Whole processes, timed from outside. The first step is done when metrics.csv has its row; the process is then ended.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import microgpt.engine.train as engine
from bench_contestants import NANOGPT, QUIET, Shape, silently
from bench_rig import Bench, alternate

TRAIN = "microgpt.engine.commands.train"
SHAPE = Shape(2, 2, 64, 32, 8)
PATIENCE = 120.0
"""Seconds after which a first step will not come."""


def finished(*words: str) -> float:
    """Seconds that a Python with these arguments takes from start to end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def first_step(bench: Bench, *overrides: str) -> float:
    """Seconds from the start of `microgpt-train` to the row of step 1 in metrics.csv."""
    folder = bench.folder / f"first{time.monotonic_ns()}"
    metrics = folder / "metrics.csv"
    words = [f"hydra.run.dir={folder}", f"trainer.accelerator={bench.device}", *overrides]
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", TRAIN, *words], stdout=subprocess.DEVNULL) as process:
        try:
            while not has_first_row(metrics):
                if process.poll() or time.perf_counter() - start > PATIENCE:
                    raise RuntimeError(f"microgpt-train did no step; it ended with {process.poll()}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()


def has_first_row(metrics: Path) -> bool:
    """Whether the row of step 1 is written."""
    try:
        return metrics.read_text(encoding="utf-8").count("\n") >= 2
    except OSError:
        return False


def main(argv: Sequence[str] | None = None) -> Bench:
    """Time everything in turns."""
    with Bench("startup", __doc__, argv) as bench:
        tiny = [*QUIET.split(), *NANOGPT.split(), *SHAPE.overrides, f"data.path={SHAPE.text(bench.folder)}"]
        run = bench.folder / "run"
        with silently():
            engine.train([*tiny, "trainer.compile=false", "trainer.max_steps=2", f"hydra.run.dir={run}"])
        default = tiny if bench.quick else []
        turns: dict[str, Callable[[], float]] = {
            "python, nothing": partial(finished, "-c", ""),
            "import torch": partial(finished, "-c", "import torch"),
            "import microgpt": partial(finished, "-c", "import microgpt"),
            "from microgpt import GPT": partial(finished, "-c", "from microgpt import GPT"),
            "microgpt-train --help": partial(finished, "-m", TRAIN, "--help"),
            "microgpt-train, first step": partial(first_step, bench, *default),
            "small and eager, first step": partial(first_step, bench, *tiny, "trainer.compile=false"),
            "microgpt-generate, 1 token": partial(
                finished, "-m", "microgpt.engine.commands.generate", str(run), "--max-new-tokens", "1"
            ),
            "microgpt-evaluate": partial(finished, "-m", "microgpt.engine.commands.evaluate", str(run)),
        }
        if bench.quick:
            for name in ("python, nothing", "import microgpt", "from microgpt import GPT"):
                del turns[name]
        found = alternate(turns, bench.rounds)
        bench.table("seconds from start", [{"what": name, "s": seconds} for name, seconds in found.items()])
        bench.claim("microgpt-train --help, s", found["microgpt-train --help"].median, at_most=0.5)
        bench.claim("first step of a run, s", found["microgpt-train, first step"].median, at_most=6)
        torch = found["import torch"]
        bench.claim(
            "first step, eager, times import torch", found["small and eager, first step"].over(torch), at_most=1.7
        )
        for name in ("microgpt-generate, 1 token", "microgpt-evaluate"):
            bench.claim(f"{name}, times import torch", found[name].over(torch), at_most=1)
    return bench


if __name__ == "__main__":
    main()
