"""Plot a comparison: loss curves, the score by each swept knob and by pairs of them, the score against time.

Drawing a figure imports matplotlib, which draws only to files and needs no display.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microgpt.engine.compare.compare import Comparison, Group, metric_text, short
from microgpt.engine.compare.knob_figures import heat_map, parallel_coordinates
from microgpt.engine.compare.runs import read_curves
from microgpt.engine.trained.drawing import (
    Theme,
    after_the_start,
    draw_baselines,
    drawable,
    inked,
    mark,
    new_figure,
    smoothed,
)
from microgpt.errors import MachineError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_SHOWN = 10
"""Most groups or lines that a reader can distinguish in one figure; a figure shows the best."""


def draw_figures(comparison: Comparison, folder: str | Path, theme: Theme = "light") -> list[Path]:
    """Write a PNG of each figure that the runs have data for; return the paths.

    Raises:
        MachineError: the folder cannot be written.
    """
    figures = {"loss-curves": _curves(comparison, theme), "quality-by-time": _quality_by_time(comparison, theme)}
    for knob in comparison.knobs:
        figures[f"score-by-{re.sub(r'[^A-Za-z0-9.-]+', '-', knob)}"] = _score_by(comparison, knob, theme)
    figures["score-by-two-knobs"] = heat_map(comparison, theme)
    figures["score-by-all-knobs"] = parallel_coordinates(comparison, theme)
    written = []
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            if figure is not None:
                written.append(Path(folder) / f"{name}.png")
                inked(figure, theme).savefig(written[-1], dpi=150, bbox_inches="tight")
    except OSError as error:
        raise MachineError(f"cannot write figures ({error.strerror})", str(folder)) from error
    return written


def _curves(comparison: Comparison, theme: Theme) -> Any:
    """Plot each run's training loss, thin, and validation metric; a colour and marker per group, the best in front."""
    figure, axes = new_figure(8.5, 4.8, theme)
    shown, metric = comparison.groups[:MAX_SHOWN], comparison.metric
    settled: list[float] = []
    for i, group in enumerate(shown):
        label: str | None = _label(group)
        style = mark(i)
        for run in group.runs:
            curves = read_curves(run)
            val = curves.get(metric, [])
            train = curves.get("train/loss", []) if metric.endswith("loss") else []
            if not train and not val:
                continue
            x, y = _xy(train)
            axes.plot(x, smoothed(y, max(1, len(y) // 25)), color=style["color"], alpha=0.55, linewidth=0.8, zorder=1)
            line = axes.plot(*_xy(val), **style, label=label, linewidth=1.4, markersize=4.5)[0]
            line.set_zorder(2 + len(shown) - i)
            settled += [*after_the_start(val), *(after_the_start(train) if train else [])] if val else []
            label = None
    if not settled:
        return None
    draw_baselines(axes, settled, _baselines(comparison), theme)
    _name_axes(axes, "optimizer step", metric)
    training = ", training (thin, smoothed)" if metric.endswith("loss") else ""
    _title(axes, f"validation{training}", len(shown), len(comparison.groups), "settings")
    _legend(axes)
    return figure


def _baselines(comparison: Comparison) -> dict[str, float]:
    """The n-gram baselines of the runs' text, weakest first, if all runs have the same and the metric is the loss."""
    found = [run.summary.get("baselines") for group in comparison.groups for run in group.runs]
    first = found[0]
    if comparison.metric != "val/loss" or not isinstance(first, dict) or any(other != first for other in found):
        return {}
    numbers = {str(k): float(v) for k, v in first.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return dict(sorted(numbers.items(), key=lambda pair: -pair[1]))


def _quality_by_time(comparison: Comparison, theme: Theme) -> Any:
    """Plot each group's score against its training time."""
    points = [(seconds, g) for g in comparison.groups[:MAX_SHOWN] if (seconds := g.average("train_seconds"))]
    if not points:
        return None
    figure, axes = new_figure(8.5, 4.8, theme)
    for i, (seconds, group) in enumerate(points):
        style = {**mark(i), "linestyle": "none"}
        axes.errorbar(seconds, group.mean, yerr=group.std, **style, markersize=7, capsize=3, label=_label(group))
    if _spans_decades([seconds for seconds, _ in points]):
        axes.set_xscale("log")
    _name_axes(axes, "training time (seconds)", comparison.metric)
    how = _seeds([group for _, group in points])
    _title(axes, f"quality against time, {how}", len(points), len(comparison.groups), "settings")
    _legend(axes)
    return figure


def _score_by(comparison: Comparison, knob: str, theme: Theme) -> Any:
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
    figure, axes = new_figure(8.5, 4.8, theme)
    shown = sorted(list(lines.items())[:MAX_SHOWN], key=lambda line: _natural(line[0]))
    for i, (rest, members) in enumerate(shown):
        aside = 0.6 * ((i + 0.5) / len(shown) - 0.5)  # names have no order: place them side by side, without a line
        placed = [(g.knobs[knob] if numeric else names.index(str(g.knobs[knob])) + aside, g) for g in members]
        placed.sort(key=lambda pair: pair[0])
        style = mark(i) if numeric else {**mark(i), "linestyle": "none"}
        for x, group in placed:
            axes.scatter([x] * group.n, list(group.scores.values()), color=style["color"], alpha=0.35, s=24,
                         linewidths=0)  # fmt: skip
        axes.errorbar(
            [x for x, _ in placed],
            [group.mean for _, group in placed],
            yerr=[group.std or 0.0 for _, group in placed],
            **style,
            markersize=6,
            capsize=3,
            label=drawable(rest) or None,
        )
    if numeric:
        _numeric_axis(axes, sorted(set(values)))
    else:
        axes.set_xticks(range(len(names)), [drawable(name, 24) for name in names], rotation=30 if len(names) > 5 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
    _name_axes(axes, knob, comparison.metric)
    _title(axes, f"{comparison.metric} by {knob}, {_seeds(groups)}", len(shown), len(lines),
           "lines")  # fmt: skip
    _legend(axes)
    return figure


def _seeds(groups: Sequence[Group]) -> str:
    """What the points of these groups are."""
    counts = sorted({group.n for group in groups})
    if counts == [1]:
        return "one run each"
    return f"mean ± std over seeds, n = {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")


def _natural(text: str) -> list[Any]:
    """A key that sorts numbers inside a text by their value."""
    return [(0, float(word), "") if re.fullmatch(r"[\d.]*\d[\d.]*(e-?\d+)?", word) and word.count(".") < 2 else
            (1, 0.0, word) for word in re.split(r"[=, ]+", text)]  # fmt: skip


def _numeric_axis(axes: "Axes", values: Sequence[float]) -> None:
    if _spans_decades(values):
        axes.set_xscale("log")
    if len(values) <= MAX_SHOWN:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 10


def _name_axes(axes: "Axes", x: str, metric: str) -> None:
    axes.set_xlabel(drawable(x))
    axes.set_ylabel(drawable(metric_text(metric)))


def _title(axes: "Axes", text: str, shown: int, count: int, things: str) -> None:
    """A title; it says how many of the things are drawn if not all are."""
    axes.set_title(drawable(text if shown == count else f"{text} (best {shown} of {count} {things})", 120), fontsize=10)


def _legend(axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)


def _label(group: Group) -> str:
    return f"{drawable(group.label)}: {group.mean:.4f} (n = {group.n})"


def _xy(curve: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in curve], [y for _, y in curve]
