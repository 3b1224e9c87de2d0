"""How the cost of a token grows with each size of a model, beside nanoGPT and the arithmetic.

    python scripts/bench/bench_growth.py --nanogpt DIR --out growth.json
    python scripts/figures/growth.py growth.json

Several files may hold a series each. The dotted line is the arithmetic alone, at the fastest matrix products of the
machine that the file was measured on.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figure_rig import DPI, FOLDER
from microgpt.engine.trained.drawing import mark, new_figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
import bench_growth

FIGURES = ("growth.png",)
TITLES = {
    "context": "context (tokens)", "width": "width", "depth": "layers", "vocabulary": "vocabulary (tokens)",
    "batch": "sequences in a batch",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Read the files and draw a panel for each series."""
    p = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    p.add_argument("files", type=Path, nargs="*", metavar="FILE")
    p.add_argument("--out", type=Path, default=FOLDER, help="folder of the figure (default: docs/figures)")
    p.add_argument("--quick", action="store_true", help="measure a tiny series first, to see that the script runs")
    a = p.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        if a.quick:
            a.files = [Path(scratch) / "growth.json"]
            bench_growth.main(["--quick", "--device", "cpu", "--out", str(a.files[0])])
        files = [json.loads(path.read_text(encoding="utf-8")) for path in a.files]
    found = {
        title.removeprefix("growth of "): (rows, values["limits"]["best FLOP/s"])
        for values in files
        for title, rows in values["results"].items()
    }
    figure, panels = new_figure(10.5, 6.4, panels=(2, 3))
    series = [name for name in TITLES if name in found]
    for axes, name in zip(panels.flat, series, strict=False):
        draw(axes, name, *found[name])
    lines, labels = panels.flat[0].get_legend_handles_labels()
    for axes in panels.flat[len(series) :]:
        axes.set_axis_off()
    panels.flat[-1].legend(lines, labels, loc="center", frameon=False)
    figure.supylabel("microseconds of training per token", fontsize=10)
    a.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(a.out / FIGURES[0], dpi=DPI)
    print(f"wrote {a.out / FIGURES[0]}")


def draw(axes: Any, name: str, rows: list[dict[str, Any]], peak: float) -> None:
    """One series: microseconds per token of each contestant against the size."""
    for i, contestant in enumerate(dict.fromkeys(row["contestant"] for row in rows)):
        mine = [row for row in rows if row["contestant"] == contestant]
        middle = [statistics.median(row["us/token"]["values"]) for row in mine]
        axes.plot([row[name] for row in mine], middle, label=contestant, **mark(i))
    bound = {row[name]: 1e6 * row["FLOPs/token"] / peak for row in rows}
    axes.plot(bound.keys(), bound.values(), ":", color="gray", label="arithmetic at the peak")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(bound), [f"{size:,}" for size in bound])
    axes.minorticks_off()
    axes.set_xlabel(TITLES[name])


if __name__ == "__main__":
    main()
