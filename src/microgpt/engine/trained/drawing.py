"""What all figures share: paper, colours and marks that colour-blind readers can tell apart, and text that fits.

Drawing imports matplotlib, which draws only to files and needs no display.
"""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from microgpt.engine.process.drawing import import_matplotlib
from microgpt.text import cut, escaped

Theme = Literal["light", "dark"]
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7F7F7F", "#A6761D", "#66A61E")
"""The first six by Okabe and Ito (https://jfly.uni-koeln.de/color/), for every kind of colour vision; all are of
medium lightness, to be seen on white and on black."""
MARKERS = "os^Dv<>PX*"
DASHES = ("-", "--", "-.", ":")
PAPER = {"light": ("white", "#222222"), "dark": ("#16181d", "#e6e6e6")}
"""Colours of paper and ink."""
VISIBLE = {" ": "\N{OPEN BOX}", "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW TO BAR}"}


def new_figure(
    width: float, height: float, theme: Theme = "light", panels: tuple[int, int] = (1, 1)
) -> tuple[Any, Any]:
    """Make a matplotlib figure and its axes (an array of them for several panels) without pyplot's state.

    The figure shows itself in a notebook.
    """
    import_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paper, ink = PAPER[theme]
    ink_keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color")
    settings: dict[Any, Any] = dict.fromkeys(ink_keys, ink) | {"axes.facecolor": paper, "figure.facecolor": paper}
    settings |= {"savefig.facecolor": paper, "legend.facecolor": paper, "legend.labelcolor": ink}
    with matplotlib.rc_context(settings):
        figure = _shown_figure()(figsize=(width, height), layout="constrained", facecolor=paper)
        FigureCanvasAgg(figure)
        axes = figure.subplots(*panels)
    for one in axes.flat if hasattr(axes, "flat") else [axes]:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.2)
        one.set_axisbelow(True)
    return figure, axes


def draw_legend(axes: Any, size: float = 7, **place: Any) -> None:
    """A legend on the colour of the paper, so that no line crosses its words."""
    axes.legend(fontsize=size, facecolor=axes.get_facecolor(), edgecolor="none", framealpha=0.85, **place)


def inked(figure: Any, theme: Theme) -> Any:
    """Give text, ticks and frames that were added in black the ink of the theme; returns the figure."""
    from matplotlib.text import Text

    ink = PAPER[theme][1]
    for text in figure.findobj(Text):
        if text.get_color() == "black":
            text.set_color(ink)
    for axes in figure.axes:
        axes.tick_params(color=ink, labelcolor=ink)
        for spine in axes.spines.values():
            spine.set_edgecolor(ink)
    return figure


@functools.cache
def _shown_figure() -> type[Any]:
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """A figure that a notebook shows without pyplot."""

        def _repr_png_(self) -> bytes:
            out = io.BytesIO()
            self.savefig(out, format="png", dpi=110)
            return out.getvalue()

    return ShownFigure


def mark(i: int) -> dict[str, Any]:
    """The colour, marker and dashes of series number `i`: no two of the first forty look alike."""
    turn = i // len(COLOURS)
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[turn % len(DASHES)],
    }


def drawable(text: str, width: int = 60) -> str:
    """Shorten text to fit a figure, replace characters without a glyph, and escape `$`, which begins mathematics."""
    shown = "".join(c if _has_glyph(c) else "\N{WHITE SQUARE}" for c in escaped(text))
    return cut(shown, width).replace("$", r"\$")


def token_label(token: str, width: int = 8) -> str:
    """A token as a tick label: white space becomes visible."""
    return drawable("".join(VISIBLE.get(c, c) for c in token), width) or "\N{EMPTY SET}"


@functools.lru_cache(maxsize=4096)
def _has_glyph(character: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return bool(get_font(findfont("DejaVu Sans")).get_char_index(ord(character)))


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """The mean of each value and the ones up to `span` before it."""
    sums, total = [0.0], 0.0
    for value in values:
        total += value
        sums.append(total)
    return [(sums[i + 1] - sums[max(0, i + 1 - span)]) / min(i + 1, span) for i in range(len(values))]


def draw_baselines(axes: Any, seen: Sequence[float], baselines: Mapping[str, float], theme: Theme) -> None:
    """Draw baselines as lines, and set the heights so that `seen` fills the axes: far baselines are only named."""
    low, high = min(seen), max(seen)
    reach = 0.6 * (high - low or 1)
    near = [loss for loss in baselines.values() if low - reach <= loss <= high + reach]
    for (name, loss), dash in zip(sorted(baselines.items(), key=lambda pair: -pair[1]), ("-.", ":"), strict=False):
        label = f"{name}: {loss:.3f}" + ("" if loss in near else f" ({'above' if loss > high else 'below'})")
        axes.axhline(loss, color=PAPER[theme][1], linestyle=dash, linewidth=1, alpha=0.7, label=label)
    low, high = min([low, *near]), max([high, *near])
    margin = 0.05 * (high - low or 1)
    axes.set_ylim(low - margin, high + margin)


def after_the_start(curve: Sequence[tuple[float, float]]) -> list[float]:
    """Drop the first tenth of a curve, whose steep start would flatten the rest."""
    return [y for x, y in curve if x >= 0.1 * curve[-1][0]]
