"""A GPU in one command: check that training and generation are right on it, then measure, in order of worth.

    python scripts/bench/gpu_day.py results/ [--minutes 8] [--text shakespeare.txt] [--nanogpt DIR] [--only ITEM ...]

Each item runs in a process of its own, which is ended when its time is over: a crash, a hang or an item that takes
too much memory costs that item alone. The checks run side by side, and with them what fills the compiler's cache.
`results/gpu_day.json` and the table are written again after every item, so that whatever ends the command loses
nothing. On a machine without a GPU, or with `--quick`, sizes are tiny: a rehearsal, which measures nothing. `--text`
is tiny Shakespeare, which the score 1.4697 belongs to.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import chain
from pathlib import Path

from gpu_items import CHECKS, ITEMS, Figures

HERE = Path(__file__).resolve().parent


def judge(found: Figures, goals: dict[str, tuple[float, bool]], rehearsal: bool, is_check: bool) -> str:
    """`ok`, `FAILED`, `short` of what was hoped for, or why nothing was found."""
    if "error" in found:
        return "FAILED"
    if "note" in found:
        return "not run"
    if "ok" in found:
        return "ok" if found["ok"] else "FAILED"
    held = [(found[key], *goal) for key, goal in goals.items() if key in found]
    fine = held and all(value >= bound if is_least else value <= bound for value, bound, is_least in held)
    if rehearsal and not is_check:
        return "rehearsed"
    return "ok" if fine else "FAILED" if is_check else "short"


def child(a: argparse.Namespace) -> int:
    """Run one item in this process and write its figures."""
    from bench_rig import Bench

    words = ["--quick", "--threads", "1"] * a.quick + (["--nanogpt", str(a.nanogpt)] if a.nanogpt else [])
    with Bench("gpu_day", str(__doc__), words, has_limits=a.item not in CHECKS) as bench:
        bench.text = a.text.resolve() if a.text else None  # type: ignore[attr-defined]
        os.environ.setdefault("MICROGPT_CACHE", str(bench.folder / "cache"))
        found = ITEMS[a.item].run(bench)
    (a.folder / f"{a.item}.json").write_text(json.dumps(found, indent=1, default=str), encoding="utf-8")
    return 0


def run_item(name: str, words: Sequence[str], folder: Path, seconds: float) -> Figures:
    """Run one item in a process of its own; its figures, or what went wrong."""
    out, log = folder / f"{name}.json", folder / f"{name}.log"
    out.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "gpu_day.py"), str(folder), *words, "--item", name]
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(seconds)
            error = f"ended with {code}, see {log.name}" if code else ""
        except subprocess.TimeoutExpired:
            error = f"not done within {seconds:.0f} s"
        finally:
            end_group(process)
    found: Figures = {"error": error} if error else json.loads(out.read_text(encoding="utf-8"))
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def report(folder: Path, results: dict[str, Figures]) -> None:
    """Write the JSON anew and print the table."""
    draft = folder / "gpu_day.json.new"
    draft.write_text(json.dumps(results, indent=1, default=str) + "\n", encoding="utf-8")
    draft.replace(folder / "gpu_day.json")
    print()
    for name, found in results.items():
        shown = ", ".join(
            f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in found.items()
            if key not in ("verdict", "seconds", "ok") and not isinstance(value, dict)
        )
        print(f"{found['verdict']:>9}  {name:<22} {found['seconds']:>6} s  {shown[:150]}")
    print(flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the items while there is time; returns how many failed."""
    start = time.monotonic()
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the figures go")
    parser.add_argument("--minutes", type=float, default=8, help="time for everything (default 8)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="tiny Shakespeare, for the time to its score")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout of it to compare with")
    parser.add_argument("--only", nargs="+", choices=list(ITEMS), metavar="ITEM", help=f"of {', '.join(ITEMS)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes (always without a GPU)")
    parser.add_argument("--item", choices=list(ITEMS), help=argparse.SUPPRESS)
    a = parser.parse_args(argv)
    a.folder.mkdir(parents=True, exist_ok=True)
    if a.item:
        return child(a)
    import torch

    a.quick = a.quick or not torch.cuda.is_available()
    words = ["--quick"] * a.quick
    for option in ("text", "nanogpt"):
        if (value := getattr(a, option)) is not None:
            words += [f"--{option}", str(value.resolve())]
    results: dict[str, Figures] = {}

    def do(name: str) -> tuple[str, Figures]:
        left = start + a.minutes * 60 - time.monotonic()
        if left < 10:
            return name, {"note": "no time left", "seconds": 0.0}
        return name, run_item(name, words, a.folder, min(ITEMS[name].seconds, left))

    names = a.only or list(ITEMS)
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as together:
        checked = [together.submit(do, name) for name in names if name in CHECKS]
        measured = (do(name) for name in names if name not in CHECKS)
        for name, found in chain((check.result() for check in as_completed(checked)), measured):
            results[name] = {"verdict": judge(found, ITEMS[name].goals, a.quick, name in CHECKS), **found}
            report(a.folder, results)
    return sum(found["verdict"] == "FAILED" for found in results.values())


if __name__ == "__main__":
    sys.exit(main())
