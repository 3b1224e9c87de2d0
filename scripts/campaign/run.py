"""The reliability campaign: break runs, checkpoints, disks, files and inputs, and count what did not hold.

    python scripts/campaign/run.py all --out campaign.json       # everything, an hour or so on one core
    python scripts/campaign/run.py kills signals --scale 0.1     # a tenth of two parts

Parts: kills (200 SIGKILLs), signals (100 each of SIGTERM, SIGINT, SIGUSR1), stops (a signal at every eighth place of
the program, some 270), starts (150 times two to six commands at once), resume (at every step of a 24-step run, 16
ways), tmpdir (the same with TMPDIR on another file system), micro (micro-batches in float64), writes (an error at every
write of a save), damage (300 damaged and 60 malicious files), inputs (10,000 configurations, 5,000 texts), surroundings
(96 commands in odd environments), tokenizers (600 random ones, 2,400 texts), stop-strings (10,000 texts), conflicts
(2,000 command lines), leaks (50,000 steps, 500 saves). Each prints a table; the exit code is 0 when all promises held.
Tiny models, one thread, forks of one warm process.
"""

import argparse
import contextlib
import io
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import campaign_conflicts
import campaign_damage
import campaign_exact
import campaign_inputs
import campaign_kills
import campaign_leaks
import campaign_starts
import campaign_stops
import campaign_surroundings
import campaign_text
from campaign_rig import report

PARTS: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "writes": lambda folder, scale: campaign_exact.write_errors(folder),
    "micro": lambda folder, scale: quiet(lambda: campaign_exact.micro_batches(folder)),
    "damage": lambda folder, scale: campaign_damage.damage(folder, max(1, round(120 * scale))),
    "kills": lambda folder, scale: campaign_kills.kills(folder, max(1, round(200 * scale))),
    "signals": lambda folder, scale: campaign_kills.signals(folder, max(1, round(100 * scale))),
    "stops": lambda folder, scale: campaign_stops.stops(folder, max(1, round(8 / scale))),
    "starts": lambda folder, scale: campaign_starts.starts(folder, max(1, round(150 * scale))),
    "resume": lambda folder, scale: quiet(
        lambda: campaign_exact.every_step(folder, campaign_exact.GRID[:: max(1, round(1 / scale))])
    ),
    "tmpdir": lambda folder, scale: quiet(
        lambda: campaign_exact.every_step_elsewhere(folder, campaign_exact.GRID[:: max(1, round(1 / scale))])
    ),
    "inputs": lambda folder, scale: campaign_inputs.inputs(folder, round(10_000 * scale), round(5_000 * scale)),
    "surroundings": lambda folder, scale: campaign_surroundings.surroundings(folder, max(1, round(96 * scale))),
    "tokenizers": lambda folder, scale: campaign_text.tokenizers(folder, round(600 * scale)),
    "stop-strings": lambda folder, scale: campaign_text.stop_strings(folder, round(10_000 * scale)),
    "conflicts": lambda folder, scale: campaign_conflicts.conflicts(folder, round(2_000 * scale)),
    "leaks": lambda folder, scale: campaign_leaks.leaks(folder, round(50_000 * scale), 100),
}


def quiet(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a part that trains in this process without its messages."""
    with contextlib.redirect_stdout(io.StringIO()):
        return part()


def main() -> int:
    """Run the parts that are named; returns 0 when each promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*PARTS, "all"], metavar="PART", help=", ".join([*PARTS, "all"]))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full numbers")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    results: dict[str, Any] = {}
    for name in PARTS if "all" in arguments.parts else arguments.parts:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="microgpt-campaign-") as folder:
            results[name] = report(name, PARTS[name](Path(folder), arguments.scale), started)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    failed = [name for name, figures in results.items() if not figures["passed"]]
    print(f"\n{'all promises held' if not failed else 'broken: ' + ', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
