"""`microgpt-export RUN OUT`: a trained model as a folder that other programs open."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from microgpt.engine.commands import common


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return common.run(export, argv)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = argparse.ArgumentParser(
        prog="microgpt-export",
        description="Write a trained model for other programs, open what was written and compare its logits.",
    )
    p.add_argument("run", metavar="RUN", type=Path, help="run folder, its model/ folder, or an exported model")
    p.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    p.add_argument("--format", default="hf", choices=("hf", "safetensors"),
                   help="hf: a folder that transformers opens; safetensors: our own model folder")  # fmt: skip
    p.add_argument("--import", dest="imports", action="append", default=[], metavar="FILE",
                   help="Python file or module that defines parts of your own")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    p.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return p


def export(arguments: list[str]) -> None:
    """Load the model, write it, check it, say how to open it."""
    a = parser().parse_args(arguments)
    from microgpt.engine.export import FORMATS
    from microgpt.engine.imports import import_part
    from microgpt.engine.run import load

    for name in a.imports:
        import_part(name)
    difference = FORMATS[a.format](load(a.run), a.out)
    if a.json:
        print(json.dumps({"out": str(a.out), "format": a.format, "largest_difference": difference}))
        return
    print(f"wrote {a.out}; opened again, its logits differ by {difference:.3g} at most")
    if a.format == "hf":
        print(f"next: AutoModelForCausalLM.from_pretrained({str(a.out)!r}), or see {a.out}/README.md")
    else:
        print(f'next: microgpt-generate {a.out} --prompt "..."')


if __name__ == "__main__":
    sys.exit(main())
