"""Plot a comparison: loss curves, the score by each swept knob, the score against training time.

Drawing a figure imports matplotlib, which draws only to files and needs no display.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microgpt.engine.compare.compare import Comparison, Group, short
from microgpt.engine.compare.runs import read_curves
from microgpt.engine.process.drawing import agg_figure
from microgpt.engine.trained.any_script import any_script
from microgpt.errors import MachineError
from microgpt.text import cut, escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_SHOWN = 10
"""Most groups or lines that a reader can distinguish in one figure; a figure shows the best."""


def draw_figures(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write a PNG of each figure that the runs have data for; return the paths.

    Raises:
        MachineError: the folder cannot be written.
    """
    figures = {"loss-curves": _curves(comparison), "quality-by-time": _quality_by_time(comparison)}
    for knob in comparison.knobs:
        figures[f"score-by-{re.sub(r'[^A-Za-z0-9.-]+', '-', knob)}"] = _score_by(comparison, knob)
    written = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            if figure is not None:
                written.append(Path(folder) / f"{name}.png")
                with any_script():
                    figure.savefig(written[-1], dpi=150, bbox_inches="tight")
    except OSError as error:
        raise MachineError(f"cannot write figures ({error.strerror})", str(folder)) from error
    return written


def _curves(comparison: Comparison) -> "Figure | None":
    """Plot each run's training loss, faint, and validation metric; one colour per group, the best group in front."""
    figure, axes = _new_figure("step", comparison.metric)
    shown = comparison.groups[:MAX_SHOWN]
    settled: list[float] = []
    for i, (group, colour) in enumerate(zip(shown, _colours(len(shown)), strict=True)):
        label: str | None = _label(group)
        for run in group.runs:
            curves = read_curves(run)
            val = curves.get(comparison.metric, [])
            train = curves.get("train/loss", []) if comparison.metric.endswith("loss") else []
            if not train and not val:
                continue
            axes.plot(*_xy(train), color=colour, alpha=0.2, linewidth=0.7, zorder=1)
            line = axes.plot(*_xy(val), "-o", color=colour, label=label, linewidth=1.2, markersize=2.5)[0]
            line.set_zorder(2 + len(shown) - i)
            settled += [*_after_the_start(train), *_after_the_start(val)]
            label = None
    if not settled:
        return None
    margin = 0.05 * (max(settled) - min(settled)) or 0.1
    axes.set_ylim(min(settled) - margin, max(settled) + margin)
    _title(axes, comparison, "Validation, and training (faint)")
    _legend(axes)
    return figure


def _after_the_start(curve: list[tuple[float, float]]) -> list[float]:
    """Drop the first tenth of a curve, whose steep start would flatten the rest."""
    return [y for x, y in curve if x >= 0.1 * curve[-1][0]]


def _quality_by_time(comparison: Comparison) -> "Figure | None":
    """Plot each group's score against its training time."""
    points = [(seconds, g) for g in comparison.groups[:MAX_SHOWN] if (seconds := g.average("train_seconds"))]
    if not points:
        return None
    figure, axes = _new_figure("training time (s)", comparison.metric)
    for (seconds, group), colour in zip(points, _colours(len(points)), strict=True):
        axes.errorbar(seconds, group.mean, yerr=group.std, fmt="o", color=colour, capsize=3, label=_label(group))
    if _spans_decades([seconds for seconds, _ in points]):
        axes.set_xscale("log")
    _title(axes, comparison, "Quality against time, mean ± std over seeds")
    _legend(axes)
    return figure


def _score_by(comparison: Comparison, knob: str) -> "Figure | None":
    """Plot the score by one knob; a line joins groups that agree in all other knobs."""
    groups = [group for group in comparison.groups if knob in group.knobs]
    if len({str(group.knobs[knob]) for group in groups}) < 2:
        return None
    values = [group.knobs[knob] for group in groups]
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    names = list(dict.fromkeys(map(str, values)))  # groups are sorted, best first
    lines: dict[str, list[Group]] = {}
    for group in groups:
        rest = ", ".join(f"{short(key)}={value}" for key, value in group.knobs.items() if key != knob)
        lines.setdefault(rest, []).append(group)
    figure, axes = _new_figure(knob, comparison.metric)
    shown = list(lines.items())[:MAX_SHOWN]
    for i, ((rest, members), colour) in enumerate(zip(shown, _colours(len(shown)), strict=True)):
        aside = 0.6 * ((i + 0.5) / len(shown) - 0.5)  # names have no order: place them side by side, without a line
        placed = [(g.knobs[knob] if numeric else names.index(str(g.knobs[knob])) + aside, g) for g in members]
        placed.sort(key=lambda pair: pair[0])
        for x, group in placed:
            axes.scatter([x] * group.n, list(group.scores.values()), color=colour, alpha=0.35, s=24, linewidths=0)
        axes.errorbar(
            [x for x, _ in placed],
            [group.mean for _, group in placed],
            yerr=[group.std or 0.0 for _, group in placed],
            color=colour,
            fmt="-o" if numeric else "o",
            markersize=4,
            capsize=3,
            label=_cut(rest) or None,
        )
    if numeric:
        _numeric_axis(axes, sorted(set(values)))
    else:
        axes.set_xticks(range(len(names)), [_cut(name, 24) for name in names], rotation=30 if len(names) > 5 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
    _title(axes, comparison, f"{comparison.metric} by {knob}, mean ± std over seeds")
    _legend(axes)
    return figure


def _numeric_axis(axes: "Axes", values: Sequence[float]) -> None:
    if _spans_decades(values):
        axes.set_xscale("log")
    if len(values) <= MAX_SHOWN:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 10


def _new_figure(x: str, y: str) -> "tuple[Figure, Axes]":
    figure: Figure = agg_figure(7, 4.5)
    axes = figure.subplots()
    axes.set_xlabel(_cut(x))
    axes.set_ylabel(_cut(y))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab10"](i) for i in range(count)]


def _title(axes: "Axes", comparison: Comparison, text: str) -> None:
    n = len(comparison.groups)
    axes.set_title(text if n <= MAX_SHOWN else f"{text} (best {MAX_SHOWN} of {n})", fontsize=10)


def _legend(axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)


def _label(group: Group) -> str:
    return f"{_cut(group.label)}: {group.mean:.4f}"


def _cut(text: str, width: int = 60) -> str:
    """Shorten text to fit a figure, and escape `$`, which matplotlib reads as mathematics."""
    return cut(escaped(text), width).replace("$", r"\$")


def _xy(curve: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in curve], [y for _, y in curve]
