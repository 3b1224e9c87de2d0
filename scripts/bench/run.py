"""All benchmarks by one command: a folder of JSON, one file each, and a table of what was promised and what was found.

    python scripts/bench/run.py results/ [--nanogpt DIR] [--mingpt DIR] [--litgpt DIR] [--only train ...]

Each benchmark runs in a process of its own; on two CPU cores all of them take about an hour and a half. Quote a
figure with its file, which says the machine, the date and the load.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BENCHES = ("startup", "data", "overhead", "train", "generate", "page", "peers", "scaling", "speed")


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
    failed = []
    for name in a.only:
        script, out = Path(__file__).with_name(f"bench_{name}.py"), a.folder / f"{name}.json"
        out.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, str(script), *shared, "--out", str(out)], check=False)
        failed += [name] if done.returncode else []
        print(flush=True)
    summarise(a.folder)
    if failed:
        print(f"did not end well: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def summarise(folder: Path) -> None:
    """Every claim of the files in a folder, held against its goal."""
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        facts = found["machine"]
        print(f"{found['bench']}: {facts['date']}, {facts['device']}, {facts['threads']} threads, "
              f"load {facts['load before']} to {facts['load after']}, {facts['seconds']:.0f} s")  # fmt: skip
        for claim in found["claims"]:
            verdict = "ok  " if claim["ok"] else "MISS"
            print(f"  {verdict} {claim['value']:>12,.4g}  {claim['goal']:>9}  {claim['what']}")


if __name__ == "__main__":
    sys.exit(main())
