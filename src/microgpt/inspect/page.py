"""Results as HTML for notebooks: no script, no style but its own, every string of the model's escaped.

Colours are transparent layers over the notebook's own background, and text has its colour, so that they are readable
in light and dark themes.
"""

import html
from collections.abc import Iterable, Sequence

from microgpt.inspect.text import VISIBLE
from microgpt.text import printable

LEVELS = 10
"""Number of shades."""
_FONT = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:14px;line-height:1.7"
TEXT_STYLE = f"{_FONT};white-space:pre-wrap;overflow-wrap:anywhere;max-width:80.5ch"
"""The half: no line of whole characters fits exactly, so that rounding does not decide where it wraps."""


def escaped(text: str) -> str:
    """Text as HTML that shows it: no markup, no control characters."""
    return html.escape(printable(text), quote=True)


def shown(token: str) -> str:
    """A token within a text as HTML: a line end is visible and ends the line."""
    return escaped(token).replace("\n", f"{VISIBLE[chr(10)]}\n")


UNDER_TEXT = 0.65
"""How much the last shade covers what is below it, so that text on it is still readable."""


def shade(level: int, colour: str, most: float = UNDER_TEXT) -> str:
    """The style of a shade, from 0 to LEVELS; `colour` is red, green, blue."""
    return f"background:rgba({colour},{opacity(level, most):.3g})" if level else ""


def opacity(level: int, most: float) -> float:
    """How much a shade, from 0 to LEVELS, covers what is below it."""
    return most * level / LEVELS


def framed(title: str, body: str, note: str = "") -> str:
    """A result with its title and a line that explains it."""
    caption = f'<div style="font-size:12px;opacity:.8;margin-top:4px">{note}</div>' if note else ""
    return (
        f'<div style="color:inherit;margin:6px 0"><div style="font-weight:600;margin-bottom:4px">{escaped(title)}</div>'
        f"{body}{caption}</div>"
    )


def coloured(tokens: Sequence[str], levels: Sequence[int], titles: Sequence[str], colour: str) -> str:
    """A text whose tokens have a shade each, and a title that appears under the pointer."""
    spans = (
        f'<span title="{escaped(title)}" style="{shade(level, colour)}">{shown(token)}</span>'
        for token, level, title in zip(tokens, levels, titles, strict=True)
    )
    return f'<div style="{TEXT_STYLE}">{"".join(spans)}</div>'


def legend(words: Sequence[str], colour: str, most: float = UNDER_TEXT) -> str:
    """The scale of the shades, from the first word to the last."""
    swatches = "".join(
        f'<span style="{shade(level, colour, most)}">&nbsp;&nbsp;</span>' for level in range(0, LEVELS + 1, 2)
    )
    return f"{escaped(words[0])} {swatches} {escaped(words[1])}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], shades: Sequence[Sequence[str]] | None = None) -> str:
    """A table of strings; `shades` are the styles of the cells."""
    cell = "padding:2px 8px;text-align:left;white-space:nowrap;color:inherit;border:1px solid rgba(128,128,128,.35)"
    lines = ["<tr>" + "".join(f'<th scope="col" style="{cell}">{escaped(name)}</th>' for name in head) + "</tr>"]
    for r, row in enumerate(rows):
        styles = shades[r] if shades is not None else [""] * len(row)
        cells = (f'<td style="{cell};{style}">{escaped(text)}</td>' for text, style in zip(row, styles, strict=True))
        lines.append(f'<tr style="background:none">{"".join(cells)}</tr>')
    return (
        f'<div style="overflow:auto;max-height:520px"><table style="border-collapse:collapse;color:inherit;{_FONT};'
        f'line-height:1.4">{"".join(lines)}</table></div>'
    )


def listing(head: Sequence[str], rows: Iterable[Sequence[str]], before: str) -> str:
    """A result, and below it a table that opens on a click."""
    return f"{before}<details><summary>{escaped(head[0])}s</summary>{table(head, rows)}</details>"
