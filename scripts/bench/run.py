"""All benchmarks by one command: a folder of JSON, one file each, and a table of what was promised and what was found.

    python scripts/bench/run.py results/ [--nanogpt DIR] [--mingpt DIR] [--litgpt DIR] [--only train ...]

Each benchmark runs in a process of its own; on two CPU cores all of them take about an hour and a half. `--quick` takes
tiny sizes and at most five minutes: what has not run by then is in the table as not run. Quote a figure with its file,
which says the machine, the date and the load.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

QUICK_SECONDS = 290.0
"""What `--quick` takes at most, all benchmarks together."""
BENCHES = ("startup", "data", "overhead", "train", "generate", "llama", "page", "peers", "scaling", "growth", "speed")


def main(argv: Sequence[str] | None = None) -> int:
    """Run them one after another; returns how many did not end well."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the JSON goes")
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=BENCHES)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true")
    for name in ("--nanogpt", "--mingpt", "--litgpt", "--threads", "--rounds", "--seconds"):
        parser.add_argument(name)
    a = parser.parse_args(argv)
    given = {f"--{name}": value for name, value in vars(a).items() if name not in ("folder", "only", "quick")}
    shared = [word for name, value in given.items() if value is not None for word in (name, value)]
    shared += ["--quick"] * a.quick
    failed, unfinished, end = [], [], time.monotonic() + QUICK_SECONDS
    for name in a.only:
        script, out = Path(__file__).with_name(f"bench_{name}.py"), a.folder / f"{name}.json"
        out.unlink(missing_ok=True)
        left = max(0.1, end - time.monotonic()) if a.quick else None
        command = [sys.executable, str(script), *shared, "--out", str(out)]
        try:
            failed += [name] if subprocess.run(command, check=False, timeout=left).returncode else []
        except subprocess.TimeoutExpired:
            unfinished.append(name)
        print(flush=True)
    summarise(a.folder, unfinished)
    if failed:
        print(f"did not end well: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def summarise(folder: Path, unfinished: Sequence[str] = ()) -> None:
    """One table: every claim of the files in a folder, `pass` or `short` of its goal."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    for found in files:
        facts = found["machine"]
        print(f"{found['bench']}: {facts['date']}, {facts['device']}, {facts['threads']} threads, "
              f"load {facts['load before']} to {facts['load after']}, {facts['seconds']:.0f} s")  # fmt: skip
    print(f"\n{'':7} {'found':>12}  {'goal':>9}  what")
    for name in unfinished:
        print(f"{'not run':7} {'':>12}  {'':>9}  {name}: out of time")
    for found in files:
        for claim in found["claims"]:
            verdict = "pass" if claim["ok"] else "short"
            print(f"{verdict:7} {claim['value']:>12,.4g}  {claim['goal']:>9}  {found['bench']}: {claim['what']}")


if __name__ == "__main__":
    sys.exit(main())
