"""The figure of docs/speed.md: cost of a token against each size of a model, beside nanoGPT and the arithmetic.

    python scripts/bench/bench_growth.py --nanogpt DIR --out growth.json
    python scripts/figures/growth.py growth.json [MORE.json ...] [--out docs/growth.png]

Several files may hold a series each. The dotted line is the arithmetic alone, at the fastest matrix products of the
machine that the file was measured on.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from microgpt.engine.trained.figures import new_figure

TITLES = {
    "context": "context (tokens)", "width": "width", "depth": "layers", "vocabulary": "vocabulary (tokens)",
    "batch": "sequences in a batch",
}  # fmt: skip
MARKS = ("o", "s", "^", "v")


def draw(axes: Any, name: str, rows: list[dict[str, Any]], peak: float) -> None:
    """One series: microseconds per token of each contestant against the size."""
    for mark, contestant in zip(MARKS, dict.fromkeys(row["contestant"] for row in rows), strict=False):
        mine = [row for row in rows if row["contestant"] == contestant]
        middle = [sorted(row["us/token"]["values"])[len(row["us/token"]["values"]) // 2] for row in mine]
        axes.plot([row[name] for row in mine], middle, marker=mark, markersize=4, label=contestant)
    bound = {row[name]: 1e6 * row["FLOPs/token"] / peak for row in rows}
    axes.plot(bound.keys(), bound.values(), ":", color="gray", label="arithmetic at the peak")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(bound), [f"{size:,}" for size in bound], fontsize=7, rotation=45)
    axes.minorticks_off()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel(TITLES[name])
    axes.grid(alpha=0.3)


def main() -> None:
    """Read the files, draw a panel for each series."""
    p = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    p.add_argument("files", type=Path, nargs="+", metavar="FILE")
    p.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "docs" / "growth.png")
    a = p.parse_args()
    found: dict[str, tuple[list[dict[str, Any]], float]] = {}
    for path in a.files:
        values = json.loads(path.read_text(encoding="utf-8"))
        for title, rows in values["results"].items():
            found[title.removeprefix("growth of ")] = (rows, values["limits"]["best FLOP/s"])
    figure, axes = new_figure(3.1 * len(found), 3.4)
    axes.remove()
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, name in zip(panels, (n for n in TITLES if n in found), strict=True):
        draw(axes, name, *found[name])
    panels[0].set_ylabel("microseconds per token of training")
    panels[0].legend(fontsize=7)
    figure.savefig(a.out, dpi=110)
    print(f"wrote {a.out}")


if __name__ == "__main__":
    main()
