"""What the reliability work costs: the share of a default run that goes into checkpoints, checks and signals.

    python scripts/bench_reliability.py [--json FILE] [overrides ...]

The work is timed inside a real run, where it happens: everything that saving does after a step (agreeing on signals,
checking the weights, writing, flushing to disk, pruning). The check that a gradient is finite reads one number.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from microgpt import train
from microgpt.engine.callbacks.save import Save

spent = {"saving and signals": 0.0}


def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, whose time is added to `spent[what]`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[what] += time.perf_counter() - start

    return call


def main() -> None:
    """Run the default experiment and print the shares."""
    p = argparse.ArgumentParser(description="What the reliability work costs of a default run.")
    p.add_argument("--json", type=Path)
    p.add_argument("overrides", nargs="*")
    a = p.parse_args()
    Save.on_step_end = timed("saving and signals", Save.on_step_end)  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        run = train([*a.overrides, f"hydra.run.dir={folder}/run"])
    assert run is not None
    seconds = run.summary["train_seconds"]
    total = seconds + spent["saving and signals"]
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"\n{run.summary['step']} steps in {seconds:.1f} s, load {load:.1f}, {time.strftime('%Y-%m-%d')}")
    for what, share in spent.items():
        print(f"{what:>20}: {share:6.3f} s  {share / total:.2%}")
    if a.json:
        a.json.write_text(json.dumps({"train_seconds": seconds, **spent}, indent=1))


if __name__ == "__main__":
    main()
