"""`microgpt-train [OVERRIDES] [-m]`: compose conf/, train, evaluate, write the run folder.

The command composes and checks a single run before making its folder, so a typo leaves nothing behind. It checks a
sweep (`-m`) point by point, then hands it to Hydra, whose launchers train each point.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import microgpt
from microgpt import streams
from microgpt.engine.commands import common
from microgpt.engine.commands.help import print_help
from microgpt.engine.process import signals
from microgpt.engine.process.stopping import ResumeHint, as_hydra_reads
from microgpt.engine.process.waiting import Load, give_way_if_busy
from microgpt.errors import UsageError

if TYPE_CHECKING:
    from microgpt.engine.sweep.points import Sweep

BEGAN = time.perf_counter()
LOAD = Load()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return common.run(train_command, argv, ResumeHint)


def train_command(arguments: list[str]) -> None:
    """Train one run, or hand a sweep to Hydra."""
    if "-h" in arguments or "--help" in arguments:
        print_help(arguments)
        return
    if "--version" in arguments:
        print(f"microgpt {microgpt.__version__}")
        return
    from microgpt.engine.compose.hydra_private import arguments_parser

    parser = arguments_parser()
    parser.error = common.misused  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(arguments)
    config_dir = Path(args.config_dir) if args.config_dir else None
    asks_hydra = args.cfg or args.info or args.shell_completion or args.hydra_help
    if not (args.multirun or asks_hydra):
        for word in args.overrides:
            if word.startswith(("hydra/launcher=", "hydra/sweeper=", "sweep.detach=")):
                raise UsageError(f"{word} is for sweeps", "the arguments", "add -m, for one point too")
        give_way_if_busy(LOAD)
        from microgpt.engine.train import train

        train(args.overrides, config_dir, BEGAN)
        return
    if not args.multirun:
        hand_to_hydra(arguments, args)
        return
    give_way_if_busy(LOAD)
    with streams.forgiving():  # the points train on, whether or not anybody reads the news
        hand_to_hydra(arguments, args)


def hand_to_hydra(arguments: list[str], args: argparse.Namespace) -> None:
    """Run a sweep, or print the information that Hydra's flags request."""
    from microgpt.engine.compose.compose import check_sweep
    from microgpt.engine.compose.overrides import as_hydra_takes_them
    from microgpt.engine.store.claim import claimed
    from microgpt.engine.sweep.points import Sweep

    known = set(args.overrides)
    flags = [word for word in arguments if word not in known]
    words = [*flags, *as_hydra_takes_them(args.overrides)]  # Hydra requires consecutive overrides
    sweep = Sweep()
    if not args.multirun:
        call_hydra(words, sweep)
        return
    folder = ["--config-dir", args.config_dir] if args.config_dir else []
    signals.at_stop(ResumeHint(["-m", *folder, *args.overrides]))
    composed = check_sweep(args.overrides, Path(args.config_dir) if args.config_dir else None)
    with contextlib.ExitStack() as stack:
        if (place := composed.sweep_dir) is not None:
            claim = stack.enter_context(claimed(place, composed.sweep_must_be_new, "hydra.sweep.dir"))
            if composed.sweep_must_be_new:
                words.append(f"hydra.sweep.dir={as_hydra_reads(claim.path)}")
        call_hydra(words, sweep)
    if sweep.points and not sweep.points[0].config.sweep.detach:
        sweep.report()


def call_hydra(arguments: list[str], sweep: "Sweep") -> None:
    """Run Hydra's own main with these arguments as the command line; it trains the sweep's points."""
    import hydra

    from microgpt.engine.compose.groups import shipped_yaml
    from microgpt.engine.compose.schema import register_schemas
    from microgpt.engine.sweep import launchers

    register_schemas()
    launchers.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # pass errors through unchanged: we print them
    previous, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(shipped_yaml()), config_name="train")(sweep.train_point)()
    finally:
        sys.argv = previous


if __name__ == "__main__":
    sys.exit(main())
