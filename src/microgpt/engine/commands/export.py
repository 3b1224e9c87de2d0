"""`microgpt-export RUN OUT`: a trained model as a folder that other programs open."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from microgpt.engine.commands import common, opening


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return common.run(export, argv)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    p = common.Parser(
        prog="microgpt-export",
        description="Write a trained model for other programs, open what was written and compare its logits.",
    )
    opening.add_arguments(p)
    p.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    p.add_argument("--format", default="hf", choices=("hf", "safetensors"),
                   help="hf: a folder that transformers opens; safetensors: our own model folder")  # fmt: skip
    return p


def export(arguments: list[str]) -> None:
    """Load the model, write it, check it, say how to open it."""
    a = parser().parse_args(arguments)
    from microgpt.engine.exchange.export import FORMATS

    difference = FORMATS[a.format](opening.open_run(a), a.out)
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
