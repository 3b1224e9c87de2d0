"""`microgpt-train [OVERRIDES] [-m]`: composes conf/, trains, evaluates, writes the run folder.

A single run is composed and checked before its folder is made, so that a typo leaves nothing behind. A sweep (`-m`) is
checked point by point, then handed to Hydra, whose launchers run `task` for each point.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import microgpt
from microgpt.engine.commands import common
from microgpt.engine.commands.help import print_help


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return common.run(train_command, argv)


def train_command(arguments: list[str]) -> None:
    """Train one run, or hand a sweep to Hydra."""
    if "-h" in arguments or "--help" in arguments:
        print_help()
        return
    if "--version" in arguments:
        print(f"microgpt {microgpt.__version__}")
        return
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = common.misused  # type: ignore[method-assign]
    args = parser.parse_args(arguments)
    config_dir = Path(args.config_dir) if args.config_dir else None
    asks_hydra = args.cfg or args.info or args.shell_completion or args.hydra_help
    if not (args.multirun or asks_hydra):
        from microgpt.engine.train import train

        train(args.overrides, config_dir)
        return
    from microgpt.engine.compose import check_sweep, lenient

    if args.multirun:
        check_sweep(args.overrides, config_dir)
    known = set(args.overrides)
    call_hydra([lenient([word])[0] if word in known else word for word in arguments])


def call_hydra(arguments: list[str]) -> None:
    """Run Hydra's own main over `task`, as if these were the command line."""
    import hydra

    from microgpt.engine.compose import register_schemas
    from microgpt.engine.conf import conf_dir

    register_schemas()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us as they are: we print them
    previous, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")(task)()
    finally:
        sys.argv = previous


def task(tree: Any) -> float | None:
    """Train one point of a sweep in Hydra's folder for it; returns the best val/loss, which sweepers minimise."""
    from hydra.core.hydra_config import HydraConfig

    from microgpt.engine.compose import decode
    from microgpt.engine.train import run
    from microgpt.errors import MicrogptError

    path = Path(HydraConfig.get().runtime.output_dir)
    try:
        done = run(decode(tree), tree, path, list(HydraConfig.get().overrides.task))
    except MicrogptError as error:
        common.complain(f"{error} (run folder {path})")
        raise
    return done.summary.get("val/loss") if done is not None else None


if __name__ == "__main__":
    sys.exit(main())
