"""microgpt-compare: tabulate and plot the mean and spread over seeds of runs and sweeps."""

import argparse
import sys
from collections.abc import Sequence

from microgpt import streams
from microgpt.engine.commands import common, opening
from microgpt.engine.compare.compare import summarise
from microgpt.engine.compare.tables import FORMATS, as_json, as_rich, left_out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return common.run(compare, argv)


def compare(argv: Sequence[str]) -> None:
    """Read the runs, print the table, draw the figures."""
    arguments = parser().parse_args(argv)
    opening.import_parts(arguments)
    comparison = summarise(arguments.runs, arguments.metric, arguments.tag, arguments.name)
    if arguments.json:
        sys.stdout.write(as_json(comparison))
    elif arguments.format == "table" and streams.is_terminal(sys.stdout):
        from rich.console import Console

        Console().print(as_rich(comparison))
        print("\n".join(left_out(comparison)))
    else:
        sys.stdout.write(FORMATS[arguments.format](comparison))
        if arguments.format != "table" and left_out(comparison):
            streams.warn("\n".join(left_out(comparison)))
    if arguments.figures:
        from microgpt.engine.compare.figures import draw_figures

        for path in draw_figures(comparison, arguments.figures, arguments.theme):
            streams.warn(f"wrote {path}")


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    p = common.Parser(
        prog="microgpt-compare",
        description="Compare runs: mean and spread over seeds, and paired differences against the best.",
    )
    p.add_argument("runs", nargs="*", default=["runs"], metavar="RUN|SWEEP",
                   help="run folders, or folders that hold runs (default: runs)")  # fmt: skip
    p.add_argument("--metric", default="val/loss", help="a number of summary.json (default: %(default)s)")
    p.add_argument("--tag", action="append", default=[], metavar="T", help="only runs with this tag; may be repeated")
    p.add_argument("--name", action="append", default=[], metavar="N", help="only runs of this name; may be repeated")
    p.add_argument("--format", choices=sorted(FORMATS), default="table", help="default: %(default)s")
    p.add_argument("--figures", metavar="DIR", help="also draw PNG figures into this folder")
    p.add_argument("--theme", choices=("light", "dark"), default="light", help="paper of the figures (default: light)")
    opening.add_imports(p)
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return p


if __name__ == "__main__":
    sys.exit(main())
