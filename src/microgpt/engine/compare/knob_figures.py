"""The score by several swept knobs at once: a heat map for two knobs, parallel coordinates for more."""

import statistics
from typing import Any

from microgpt.engine.compare.compare import Comparison, higher_is_better, metric_text, short
from microgpt.engine.trained.drawing import COLOURS, PAPER, Theme, drawable, new_figure


def heat_map(comparison: Comparison, theme: Theme) -> Any:
    """Plot the mean score of each pair of values, if two knobs differ and both have several values; else None."""
    if len(comparison.knobs) != 2:
        return None
    across, down = comparison.knobs
    columns, rows = (ordered(comparison, knob) for knob in (across, down))
    if len(columns) < 2 or len(rows) < 2:
        return None
    cells: dict[tuple[str, str], list[float]] = {}
    for group in comparison.groups:
        cells.setdefault((text(group.knobs.get(down)), text(group.knobs.get(across))), []).append(group.mean)
    means = {place: statistics.fmean(found) for place, found in cells.items()}
    table = [[means.get((row, column), float("nan")) for column in columns] for row in rows]
    figure, axes = new_figure(2.4 + 0.9 * len(columns), 1.8 + 0.55 * len(rows), theme)
    image = axes.imshow(table, cmap="cividis" if higher_is_better(comparison.metric) else "cividis_r", aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(columns)), [drawable(name, 16) for name in columns])
    axes.set_yticks(range(len(rows)), [drawable(name, 16) for name in rows])
    best = comparison.groups[0]
    best_place = (text(best.knobs.get(down)), text(best.knobs.get(across)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            if (row, column) in means:
                star = "\N{BLACK STAR} " if (row, column) == best_place else ""
                bright = sum(image.cmap(image.norm(means[row, column]))[:3]) > 1.5
                axes.text(j, i, f"{star}{means[row, column]:.4f}", ha="center", va="center", fontsize=8,
                          color="#111111" if bright else "#ffffff")  # fmt: skip
    axes.set_xlabel(drawable(across))
    axes.set_ylabel(drawable(down))
    figure.colorbar(image, ax=axes, label=drawable(metric_text(comparison.metric)))
    runs = sum(len(group.runs) for group in comparison.groups)
    axes.set_title(drawable(f"{comparison.metric}, mean over seeds, n = {runs} runs; star: best", 90), fontsize=9)
    return figure


def parallel_coordinates(comparison: Comparison, theme: Theme) -> Any:
    """Plot each setting as a line through its knobs' values to its score, if more than two knobs differ; else None.

    The best tenth of the settings, five at least, are drawn bold and in colour.
    """
    if len(comparison.knobs) < 3:
        return None
    knobs = list(comparison.knobs)
    orders = {knob: ordered(comparison, knob) for knob in knobs}
    figure, axes = new_figure(1.6 * len(knobs) + 2.5, 4.8, theme)
    means = [group.mean for group in comparison.groups]
    low, high = min(means), max(means)
    best = max(5, len(means) // 10)
    for i, group in reversed(list(enumerate(comparison.groups))):
        heights = [height(orders[knob], text(group.knobs.get(knob))) for knob in knobs]
        score = (group.mean - low) / ((high - low) or 1)
        style: dict[str, Any] = {"color": PAPER[theme][1], "alpha": 0.25, "linewidth": 0.8}
        if i < best:
            style = {"color": COLOURS[0] if i else COLOURS[1], "linewidth": 2.5 if i == 0 else 1.4, "alpha": 0.9}
        axes.plot(range(len(knobs) + 1), [*heights, score], "--" if i == 0 else "-", **style)
    paper = {"facecolor": PAPER[theme][0], "edgecolor": "none", "pad": 1, "alpha": 0.85}  # no line crosses a value
    small: dict[str, Any] = {"fontsize": 7, "va": "center", "zorder": 5}
    for x, knob in enumerate(knobs):
        axes.axvline(x, color=PAPER[theme][1], linewidth=0.8)
        for value in orders[knob] if len(orders[knob]) <= 12 else (orders[knob][0], orders[knob][-1]):
            axes.text(x + 0.03, height(orders[knob], value), drawable(value, 12), bbox=paper, **small)
    axes.axvline(len(knobs), color=PAPER[theme][1], linewidth=0.8)
    for end, place in ((low, 0), (high, 1)):
        axes.text(len(knobs) + 0.03, place, f"{end:.4f}", bbox=paper, **small)
    names = [drawable(short(name), 18) for name in knobs]
    axes.set_xticks(range(len(knobs) + 1), [*names, drawable(metric_text(comparison.metric), 40).replace(" (", "\n(")])
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(knobs) + 0.5)
    axes.spines[:].set_visible(False)
    title = f"{len(means)} settings; dashed: the best, {comparison.groups[0].mean:.4f}; bold: the best {best}"
    axes.set_title(drawable(title, 100), fontsize=9)
    return figure


def ordered(comparison: Comparison, knob: str) -> list[str]:
    """The values of a knob as text: numbers by size, then names from A to Z."""
    values = {text(group.knobs.get(knob)): group.knobs.get(knob) for group in comparison.groups}

    def place(pair: tuple[str, Any]) -> tuple[bool, float, str]:
        is_number = isinstance(pair[1], (int, float)) and not isinstance(pair[1], bool)
        return not is_number, float(pair[1]) if is_number else 0.0, pair[0]

    return [name for name, _ in sorted(values.items(), key=place)]


def height(order: list[str], value: str) -> float:
    """Where a value stands on its axis, from 0 to 1."""
    return order.index(value) / max(1, len(order) - 1)


def text(value: Any) -> str:
    """A knob's value as a label."""
    return f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)
