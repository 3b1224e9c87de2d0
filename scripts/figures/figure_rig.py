"""What the scripts of figures share: their arguments, a training that says nothing, and the folder that pages read.

    python scripts/figures/NAME.py [--out docs/figures] [--quick] [overrides ...]

`--quick` makes everything tiny, to see that the script runs; its figures mean nothing. Runs use one thread and
float32, so that they repeat on any machine but for rounding.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microgpt import train
from microgpt.engine.trained.run import Run

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"
PLAIN = ("trainer.accelerator=cpu", "trainer.threads=1", "trainer.precision=32-true", "trainer.compile=false",
         "trainer.progress=none", "logger=none", "eval.figures=never", "sample.every_n_steps=0",
         "sample.max_new_tokens=0")  # fmt: skip
TINY = ("model.n_layer=2", "model.n_embd=32", "model.n_head=4", "model.block_size=16", "data.batch_size=4")
SMALL = ("model.n_layer=2", "model.n_embd=64")
"""A model that learns something in half a minute."""
DPI = 130


@dataclass(frozen=True)
class Rig:
    """What a script draws with."""

    out: Path
    quick: bool
    overrides: list[str]
    scratch: Path

    def steps(self, count: int) -> int:
        """A number of steps, or a few of them when quick."""
        return min(count, 4) if self.quick else count

    def words(self, *overrides: str) -> list[str]:
        """The overrides of a run: plain ones, the script's, tiny ones when quick, and the user's."""
        given = [*PLAIN, *overrides, *(TINY if self.quick else ()), *self.overrides]
        return list({word.partition("=")[0]: word for word in given}.values())  # the last of a name counts

    def train(self, name: str, *overrides: str, config_dir: Path | None = None) -> Run:
        """Train in a folder of scratch space."""
        folder = self.scratch / re.sub(r"[^\w.]+", "-", name)
        run = train(self.words(*overrides, f"hydra.run.dir={folder}"), config_dir=config_dir)
        assert run is not None
        return run

    def save(self, figure: Any, name: str) -> None:
        """Write a figure and say so."""
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out / name, dpi=DPI)
        print(f"wrote {self.out / name}")

    def take(self, path: Path, name: str) -> None:
        """Copy a figure that a command has drawn."""
        self.out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self.out / name)
        print(f"wrote {self.out / name}")


def points(run: Run, metric: str) -> tuple[list[float], list[float]]:
    """The steps and values at which a run logged a metric."""
    columns = run.metrics
    pairs = zip(columns["step"], columns[metric], strict=True)
    found = [(step, value) for step, value in pairs if value is not None and value == value]
    return [step for step, _ in found], [value for _, value in found]


def draw(script: Callable[[Rig], None], doc: str | None, argv: Sequence[str] | None) -> None:
    """Run a script with its arguments and a scratch folder."""
    p = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    p.add_argument("--out", type=Path, default=FOLDER, help="folder of the figures (default: docs/figures)")
    p.add_argument("--quick", action="store_true", help="tiny settings, to see that the script runs")
    p.add_argument("overrides", nargs="*", help="of microgpt-train, for every run")
    a = p.parse_intermixed_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        script(Rig(a.out, a.quick, a.overrides, Path(scratch)))
