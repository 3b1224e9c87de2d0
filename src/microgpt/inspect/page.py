"""Results as HTML for notebooks: no script, no style but its own, every string of the model's escaped.

Colours are transparent layers over the notebook's own background, and text has its colour, so that they are readable
in light and dark themes.
"""

import html
import secrets
from collections.abc import Iterable, Sequence

import numpy as np

from microgpt.inspect.text import VISIBLE, runs
from microgpt.text import printable

LEVELS = 10
"""Number of shades."""
_FONT = "font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:14px;line-height:1.7"
_TEXT = f"{_FONT};white-space:pre-wrap;overflow-wrap:anywhere;max-width:80ch"


def escaped(text: str) -> str:
    """Text as HTML that shows it: no markup, no control characters."""
    return html.escape(printable(text), quote=True)


def shown(token: str) -> str:
    """A token within a text as HTML: a line end is visible and ends the line."""
    return escaped(token).replace("\n", f"{VISIBLE[chr(10)]}\n")


def shade(level: int, colour: str) -> str:
    """The style of a shade, from 0 to LEVELS; `colour` is red, green, blue."""
    return f"background:rgba({colour},{0.65 * level / LEVELS:.3g})" if level else ""


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
    return f'<div style="{_TEXT}">{"".join(spans)}</div>'


def legend(words: Sequence[str], colour: str) -> str:
    """The scale of the shades, from the first word to the last."""
    swatches = "".join(f'<span style="{shade(level, colour)}">&nbsp;&nbsp;</span>' for level in range(0, LEVELS + 1, 2))
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


def choosable(tokens: Sequence[str], levels: np.ndarray, colour: str) -> str:
    """A text in which a click on a token, or an arrow key, shows that token's row of shades.

    Args:
        levels: (T, T) shades, by chosen token and shaded token.

    Every row is a layer of the text in transparent letters, in the same place, and the chosen one is visible.
    """
    name = f"m{secrets.token_hex(4)}"  # of its own, because a notebook may show a result twice
    layers = []
    for t, row in enumerate(levels):
        chosen = " checked" if t == len(tokens) - 1 else ""
        label = escaped(f"attention from token {t}, {tokens[t]!r}")
        layers.append(f'<input type="radio" name="{name}" id="{name}-{t}" aria-label="{label}"{chosen}>')
        marks = row.copy()
        marks[t] += 100  # the chosen token has a frame
        parts = (
            f'<span class="s{level % 100}{" here" if level >= 100 else ""}">'
            f"{''.join(map(shown, tokens[start:end]))}</span>"
            for start, end, level in runs(marks)
        )
        layers.append(f'<span class="layer" aria-hidden="true">{"".join(parts)}</span>')
    words = "".join(f'<label for="{name}-{t}">{shown(token)}</label>' for t, token in enumerate(tokens))
    layers.append(f'<span class="words">{words}</span>')
    return f'<style>{_style(name, colour)}</style><div id="{name}" role="radiogroup">{"".join(layers)}</div>'


def _style(name: str, colour: str) -> str:
    shades = "".join(f"#{name} .s{level}{{{shade(level, colour)}}}" for level in range(1, LEVELS + 1))
    return (
        f"#{name}{{display:grid;position:relative;{_TEXT}}}"
        f"#{name}>span{{grid-area:1/1;white-space:pre-wrap}}"
        f"#{name}>input{{position:absolute;opacity:0;pointer-events:none;margin:0}}"
        f"#{name}>.layer{{visibility:hidden;color:transparent;user-select:none}}"
        f"#{name}>input:checked+.layer{{visibility:visible}}"
        f"#{name}>input:focus-visible+.layer .here{{outline-width:3px}}"
        f"#{name} .here{{outline:2px solid rgb({colour})}}"
        f"#{name} label{{cursor:pointer;display:inline;margin:0;font:inherit;color:inherit}}{shades}"
    )
