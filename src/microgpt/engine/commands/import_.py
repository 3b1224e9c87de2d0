"""`microgpt-import nanogpt CKPT OUT`: convert another project's checkpoint to our model folder.

`microgpt-import nanogpt-config CONFIG.py` prints the command line of a nanoGPT configuration.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from microgpt import streams
from microgpt.config import ConfigError
from microgpt.engine.commands import common, opening
from microgpt.engine.commands.options import Options, as_flags
from microgpt.errors import UsageError

CONFIG = "nanogpt-config"
"""The word that asks for a command line instead of a model."""
FAMILY = "microgpt.engine.exchange.importers.base.Importer"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return common.run(import_, argv)


def parser(projects: Options) -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = common.Parser(
        prog="microgpt-import",
        description="Make a model folder of another project's checkpoint. No code in it is run.",
        epilog=f"projects:\n{projects.summary()}\n\n"
        f"microgpt-import {CONFIG} CONFIG.py prints the command line that trains like a configuration of nanoGPT.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("project", metavar="PROJECT", help=f"whose checkpoint it is: {', '.join(projects.members)}")
    p.add_argument("checkpoint", metavar="CKPT", type=Path, help="the project's file")
    p.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    opening.add_imports(p)
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    projects.add_to(p)
    return p


def print_command(arguments: list[str]) -> None:
    """Print the command line of a nanoGPT configuration, and as comments what differs."""
    p = common.Parser(
        prog=f"microgpt-import {CONFIG}",
        description="Print the command line that trains like a configuration of nanoGPT. The file is not run.",
    )
    p.add_argument("config", metavar="CONFIG", type=Path, help="a file such as config/train_shakespeare_char.py")
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    from microgpt.engine.exchange.nanogpt_config import command_line

    command, remarks = command_line(p.parse_args(arguments).config)
    print("\n".join([command, *(f"# {remark}" for remark in remarks)]))


def import_(arguments: list[str]) -> None:
    """Read the checkpoint and its tokenizer, write the folder, print the next commands."""
    if arguments[:1] == [CONFIG]:
        print_command(arguments[1:])
        return
    projects = Options(FAMILY, arguments)
    a = parser(projects).parse_args(arguments)
    chosen = projects.chosen(a.project, a, "PROJECT")
    if not a.checkpoint.exists():
        raise UsageError(f"no such file {str(a.checkpoint)!r}", "CKPT", f"name a checkpoint of {a.project}")
    from microgpt.engine.exchange.importing import import_checkpoint

    opening.import_parts(a)
    try:
        model = import_checkpoint(a.checkpoint, a.out, chosen)
    except ConfigError as error:
        raise as_flags(error) from None
    with streams.forgiving():  # the model is written, whether or not anybody reads so
        print(f"wrote {a.out}: {model.num_params():,} parameters, {model.vocab_size} tokens")
        print(f'next: microgpt-generate {a.out} --prompt "..."')


if __name__ == "__main__":
    sys.exit(main())
