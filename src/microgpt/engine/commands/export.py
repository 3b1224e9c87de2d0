"""`microgpt-export RUN OUT`: export a trained model to a folder that other programs open."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from microgpt import streams
from microgpt.config import ConfigError
from microgpt.engine.commands import common, opening
from microgpt.engine.commands.options import Options, as_flags

FAMILY = "microgpt.engine.exchange.formats.base.ExportFormat"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return common.run(export, argv)


def parser(formats: Options) -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = common.Parser(
        prog="microgpt-export",
        description="Write a trained model for other programs, or as a page; open what was written and compare.",
        epilog=f"formats:\n{formats.summary()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    opening.add_arguments(p)
    p.add_argument("out", metavar="OUT", type=Path, help="folder to make, or file")
    p.add_argument("--format", default="hf", metavar="F", help=f"{', '.join(formats.members)} (default: hf)")
    formats.add_to(p)
    return p


def export(arguments: list[str]) -> None:
    """Load the model, write it, check it, print how to open it."""
    formats = Options(FAMILY, arguments)
    a = parser(formats).parse_args(arguments)
    chosen = formats.chosen(a.format, a, "--format")
    opening.require_run(a.run)
    from microgpt.engine.exchange.export import export as write
    from microgpt.engine.exchange.formats import ExportFormat

    opening.import_parts(a)
    try:
        format = ExportFormat.choose(chosen)
    except ConfigError as error:
        raise as_flags(error) from None
    assert isinstance(format, ExportFormat)
    difference = write(opening.open_run(a), a.out, format)
    with streams.forgiving():  # the model is written, whether or not anybody reads so
        if a.json:
            print(json.dumps({"out": str(a.out), "format": a.format, "largest_difference": difference}))
            return
        print(f"wrote {a.out}; opened again, its logits differ by {difference:.3g} at most")
        print(f"next: {format.next_step(a.out)}")


if __name__ == "__main__":
    sys.exit(main())
