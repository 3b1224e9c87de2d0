"""Figures of inspected texts; drawing one imports matplotlib."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np

from microgpt.engine.trained.drawing import Theme as Theme
from microgpt.engine.trained.drawing import drawable as drawable
from microgpt.engine.trained.drawing import inked as inked
from microgpt.engine.trained.drawing import new_figure
from microgpt.errors import MachineError

MOST_LABELS = 64
"""The most tokens with a label each; a longer axis has a label for every few tokens."""
MOST_NUMBERS = 16
"""The most columns of a heat map whose cells have their number."""


def canvas(width: float, height: float, theme: Theme) -> tuple[Any, Any]:
    """A figure that a notebook shows, and its axes.

    Raises:
        MachineError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MachineError("plot needs the package matplotlib", "this environment", "pip install matplotlib")
    return new_figure(width, height, theme)


def token_axis(labels: Sequence[str], height: float, theme: Theme) -> tuple[Any, Any]:
    """A figure with a token at each whole number of the horizontal axis."""
    figure, axes = canvas(max(4.0, 0.24 * min(len(labels), MOST_LABELS) + 1.2), height, theme)
    ticks(axes.set_xticks, labels)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.grid(visible=False, axis="x")
    return figure, axes


def heat(
    values: np.ndarray,
    unit: str,
    columns: Sequence[str],
    rows: Sequence[str],
    theme: Theme,
    most: float | None = None,
) -> tuple[Any, Any]:
    """A figure of (rows, columns) numbers as colours, none for NaN; if any is negative, white is zero and red below it.

    Args:
        most: the number of the scale's last colour; larger ones have it too.
    """
    width = max(3.6, 0.26 * min(len(columns), MOST_LABELS) + 1.8)
    figure, axes = canvas(width, max(2.4, 0.26 * min(len(rows), MOST_LABELS) + 1.0), theme)
    bound = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    signed = bool(np.nanmin(values, initial=0.0) < 0)
    colours = "RdBu" if signed else {"light": "Blues", "dark": "cividis"}[theme]
    image = axes.imshow(
        values, cmap=colours, vmin=-bound if signed else 0, vmax=most or bound,
        aspect="auto", interpolation="nearest",
    )  # fmt: skip
    axes.grid(visible=False)
    ticks(axes.set_xticks, columns)
    ticks(axes.set_yticks, rows)
    figure.colorbar(image, label=unit)
    return figure, axes


def number_cells(figure: Any, axes: Any) -> None:
    """Write the number into each cell of a heat map, if there are few columns, and make the cells wide enough."""
    (image,) = axes.images
    values = image.get_array()
    if values.shape[1] > MOST_NUMBERS:
        return
    figure.set_size_inches(max(4.4, 0.52 * values.shape[1] + 1.9), figure.get_size_inches()[1])
    for (row, column), value in np.ndenumerate(values):
        ink = ink_on(image, float(value))
        axes.text(column, row, f"{value:.3f}", color=ink, ha="center", va="center", fontsize=7)


def ticks(setter: Any, labels: Sequence[str]) -> None:
    """Label the whole numbers of an axis, or every few of them."""
    every = -(-len(labels) // MOST_LABELS) or 1
    places = list(range(0, len(labels), every))
    setter(places, [drawable(labels[i]) for i in places], fontsize=8)


def ink_on(image: Any, value: float) -> str:
    """Black or white, whichever is readable on the colour of a value; where there is none, what `inked` replaces."""
    if value != value:
        return "black"
    red, green, blue, _ = image.cmap(image.norm(value))
    return "#111111" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else "#ffffff"
