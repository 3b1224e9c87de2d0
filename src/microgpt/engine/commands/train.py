"""`microgpt-train [OVERRIDES] [-m]`: compose conf/, train, evaluate, write the run folder.

The command composes and checks a single run before making its folder, so a typo leaves nothing behind. It checks a
sweep (`-m`) point by point, then hands it to Hydra, whose launchers train each point.
"""

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import microgpt
from microgpt import streams
from microgpt.config import Config, ConfigError, Fault
from microgpt.engine.commands import common
from microgpt.engine.commands.early import check_early
from microgpt.engine.commands.help import print_help
from microgpt.engine.process import signals
from microgpt.engine.process.stopping import ResumeHint
from microgpt.engine.process.waiting import Load, give_way_if_busy
from microgpt.errors import UsageError
from microgpt.text import quoted

if TYPE_CHECKING:
    from microgpt.engine.compose.compose import Folders
    from microgpt.engine.sweep.points import Sweep

BEGAN = time.perf_counter()
LOAD = Load()
TRUST = "--trust"
"""The option that lets the YAML of --config-dir name code to run, as the command line may."""


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
    args = parse(arguments)
    asks_hydra = args.cfg or args.info or args.shell_completion or args.hydra_help
    if args.multirun or asks_hydra:
        hand_to_hydra(arguments, args)
        return
    for word in args.overrides:
        if word.startswith(("hydra/launcher=", "hydra/sweeper=", "sweep.detach=")):
            raise UsageError(f"{word} is for sweeps", "the arguments", "add -m, for one point too")
    from microgpt.engine.compose.compose import compose_as
    from microgpt.engine.plan.least_memory import require_memory

    def check(root: type[Config]) -> None:
        config, _ = compose_as(root, args.overrides, args.config_dir)
        require_text(config)
        require_memory(config)

    check_early(check, args.overrides, args.trust)
    give_way_if_busy(LOAD)
    from microgpt.engine.train import train

    train(args.overrides, args.config_dir, BEGAN, args.trust)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line: Hydra's options and overrides, and `trust`, which is removed from `arguments`.

    Raises:
        UsageError: an option is unknown; the error says what to write instead.
    """
    from microgpt.engine.compose.hydra_private import arguments_parser

    def refuse(message: str) -> NoReturn:
        words = [word for word in message.partition("unrecognized arguments: ")[2].split(" ") if word.startswith("-")]
        following = dict(itertools.pairwise(arguments))
        fixes = [option_fix(word, following.get(word, "")) for word in words]
        if len(words) > 1:
            raise ConfigError([Fault(word, "no such option", fix) for word, fix in zip(words, fixes, strict=True)])
        raise UsageError(message, "the arguments", fixes[0] if fixes else "see --help")

    trust = TRUST in arguments
    while TRUST in arguments:
        arguments.remove(TRUST)
    parser = arguments_parser()
    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(arguments)
    args.trust = trust
    args.config_dir = Path(args.config_dir).expanduser() if args.config_dir else None
    return args


def require_text(config: Any) -> None:
    """Check that the text of one's own exists.

    Raises:
        DataError: it does not.
    """
    from microgpt.data.sources import require_path

    if config.data.path is not None:
        require_path(config.data.path)


def option_fix(word: str, following: str) -> str:
    """What to write instead of an option that does not exist."""
    from microgpt.engine.commands.outline import outline
    from microgpt.engine.commands.sources import Sources
    from microgpt.engine.compose.advice import option_advice

    return option_advice(word, following, outline(Sources()))


def hand_to_hydra(arguments: list[str], args: argparse.Namespace) -> None:
    """Run a sweep, or print the information that Hydra's flags request."""
    from microgpt.engine.compose.compose import run_config
    from microgpt.engine.compose.overrides import as_hydra_takes_them

    folders = check_points(args) if args.multirun else None
    from microgpt.engine.store.claim import claimed
    from microgpt.engine.sweep.points import Sweep

    sweep, overrides = Sweep(), as_hydra_takes_them(args.overrides, run_config(), is_sweep=args.multirun)
    words = [*hydra_flags(arguments, args), *overrides]  # Hydra requires consecutive overrides
    if folders is None:
        call_hydra(words, sweep)
        return
    for line in folders.notice.splitlines():
        streams.warn(f"note: {line}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(streams.forgiving())  # the points train on, whether or not anybody reads the news
        if (place := folders.sweep_dir) is not None:
            claim = stack.enter_context(claimed(place, folders.sweep_must_be_new, "hydra.sweep.dir"))
            if folders.sweep_must_be_new:
                words.append(f"hydra.sweep.dir={quoted(str(claim.path))}")
        call_hydra(words, sweep)
    if sweep.points and not sweep.points[0].config.sweep.detach:
        sweep.report()


def check_points(args: argparse.Namespace) -> "Folders":
    """Check every point of a sweep, first without torch; return the sweep's folders."""
    from microgpt.engine.compose.compose import check_sweep, run_config

    words = [*(["--config-dir", str(args.config_dir)] if args.config_dir else []), *([TRUST] if args.trust else [])]
    signals.at_stop(ResumeHint(["-m", *words, *args.overrides]))

    def check(root: type[Config]) -> "Folders":
        return check_sweep(root, args.overrides, args.config_dir, args.trust, require_text)

    check_early(check, args.overrides, args.trust)
    give_way_if_busy(LOAD)
    return check(run_config())


def hydra_flags(arguments: list[str], args: argparse.Namespace) -> list[str]:
    """The arguments that are no overrides, with the folder of --config-dir expanded."""
    known = set(args.overrides)
    flags = [word for word in arguments if word not in known]
    return [str(args.config_dir) if i and flags[i - 1] in ("--config-dir", "-cd") else word
            for i, word in enumerate(flags)]  # fmt: skip


def call_hydra(arguments: list[str], sweep: "Sweep") -> None:
    """Run Hydra's own main with these arguments as the command line; it trains the sweep's points."""
    import hydra

    from microgpt.engine.compose.compose import run_config
    from microgpt.engine.compose.groups import shipped_yaml
    from microgpt.engine.compose.schema import register_schemas
    from microgpt.engine.sweep import launchers

    register_schemas(run_config())
    launchers.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # pass errors through unchanged: we print them
    previous, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(shipped_yaml()), config_name="train")(sweep.train_point)()
    finally:
        sys.argv = previous


if __name__ == "__main__":
    sys.exit(main())
