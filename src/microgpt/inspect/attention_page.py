"""One head's attention as HTML without a script: a text whose tokens show where they look, and a grid that enlarges.

Both parts share one choice of token, made by pointer or arrow keys: a radio button for each token, which CSS asks.
"""

import re
import secrets
from collections.abc import Sequence

import numpy as np

from microgpt.inspect.page import LEVELS, TEXT_STYLE, escaped, opacity, shade, shown
from microgpt.inspect.text import runs, visible

SIZES = (3, 6, 12, 18, 28)
"""Sizes of a cell of the grid, in pixels; tokens stand beside cells of `READABLE` and larger, numbers beside others."""
READABLE = 12
WIDE = 640
"""Width in pixels that the grid has at first, at most."""
EVERY = 16
"""Tokens between two numbers along the grid."""
NAMED = 5
"""Tokens that are named with their weight, for each token that looks."""
_PAPER = (
    "background:var(--jp-layout-color0,var(--vscode-editor-background,Canvas));"
    "color:var(--jp-content-font-color1,var(--vscode-editor-foreground,CanvasText))"
)
_FONT = "10px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
_RULES = """
& { --c: 3px; --t: 0 }
& input { position: absolute; opacity: 0; pointer-events: none; margin: 0 }
& label { cursor: pointer; display: inline; margin: 0; font: inherit; color: inherit }

& .text { display: grid; position: relative; TEXT }
& .text > span { grid-area: 1/1; white-space: pre-wrap }
& .text > .layer { visibility: hidden; color: transparent; user-select: none }
& .text > .says { grid-area: 2/1; visibility: hidden; font-size: 12px; margin-top: 4px }
& input:checked + .layer, & input:checked + .layer + .says { visibility: visible }
& .here { outline: 2px solid RGB }
& input:focus-visible + .layer .here { outline-width: 3px }

& .zoom { position: relative; font-size: 12px; margin: 8px 0 4px }
& .zoom label { padding: 0 6px; border: 1px solid rgba(128,128,128,.5); margin-left: 4px }
& .zoom input:checked + label { outline: 2px solid RGB; font-weight: 600 }
& .zoom input:focus-visible + label { outline-width: 3px }

& .view { overflow: auto; max-height: 70vh; max-width: 100%; width: fit-content; resize: both; font: FONT;
    border: 1px solid rgba(128,128,128,.5) }
& .view:focus-visible { outline: 3px solid RGB }
& .sheet { display: grid; grid-template-columns: max-content max-content; width: max-content }
& .corner { position: sticky; top: 0; left: 0; z-index: 3; padding: 2px; width: 6em; PAPER }
& .columns { position: sticky; top: 0; z-index: 2; display: flex; PAPER }
& .columns span { width: var(--c); line-height: var(--c); writing-mode: vertical-rl; text-align: right;
    white-space: pre; max-height: 9em; overflow: hidden; padding: 2px 0 }
& .rows { position: sticky; left: 0; z-index: 1; PAPER }
& .rows label { display: block; height: var(--c); line-height: var(--c); text-align: right; white-space: pre;
    padding: 0 2px; max-width: 12em; overflow: hidden }
& .view i { display: none; position: absolute; font-style: normal }
& .rows i { top: calc(var(--n) * var(--c)); right: 2px }
& .columns i { left: calc(var(--n) * var(--c)); bottom: 2px }
& .cells { position: relative; width: calc(TOKENS * var(--c)); height: calc(TOKENS * var(--c)) }
& svg { display: block; width: 100%; height: 100%; fill: RGB }
& .mark { position: absolute; left: 0; right: 0; top: calc(var(--t) * var(--c)); height: var(--c);
    outline: 1px solid RGB; pointer-events: none }
"""
"""The rules of every view; `&` is its id. Labels of the grid stay in sight while it scrolls."""


def view(tokens: Sequence[str], weights: np.ndarray, most: float, colour: str, first: int = 0) -> str:
    """A text and a grid in which each token shows where it looks.

    Args:
        weights: (T, T), by token that looks and token looked at.
        most: the weight of the darkest shade.
        colour: red, green, blue.
        first: the number of the first token.
    """
    levels = np.ceil(LEVELS * np.clip(weights / most - 0.02, 0, 1)).astype(int)
    name = f"m{secrets.token_hex(4)}"  # of its own, because a notebook may show a result twice
    size = max((size for size in SIZES if size * len(tokens) <= WIDE), default=SIZES[0])
    return (
        f'<style>{_style(name, len(tokens), colour)}</style><div id="{name}">'
        f"{_text(name, tokens, weights, levels, first)}{_zoom(name, size)}{_grid(name, tokens, levels, first)}</div>"
    )


def _text(name: str, tokens: Sequence[str], weights: np.ndarray, levels: np.ndarray, first: int) -> str:
    """The text: each row of shades is a layer in transparent letters, in the same place; the chosen one is visible."""
    parts = []
    for t, row in enumerate(levels):
        chosen = " checked" if t == len(tokens) - 1 else ""
        says = _targets(tokens, weights[t], t, first)
        marks = row.copy()
        marks[t] += 100  # the chosen token has a frame
        spans = (
            f'<span class="s{level % 100}{" here" if level >= 100 else ""}">'
            f"{''.join(map(shown, tokens[start:end]))}</span>"
            for start, end, level in runs(marks)
        )
        parts += [
            f'<input type="radio" name="{name}" id="{name}-{t}" aria-label="{escaped(says)}"{chosen}>',
            f'<span class="layer" aria-hidden="true">{"".join(spans)}</span>',
            f'<span class="says" aria-hidden="true">{escaped(says)}</span>',
        ]
    words = "".join(f'<label class="w{t}" for="{name}-{t}">{shown(token)}</label>' for t, token in enumerate(tokens))
    label = 'role="radiogroup" aria-label="the token that looks"'
    return f'<div class="text" {label}>{"".join(parts)}<span class="words">{words}</span></div>'


def _targets(tokens: Sequence[str], weights: np.ndarray, t: int, first: int) -> str:
    """Where a token looks, in words: the largest weights first."""
    order = sorted(range(t + 1), key=lambda s: (-weights[s], -s))[:NAMED]
    seen = [f"{visible(tokens[s])} ({first + s}) {weights[s]:.2f}" for s in order if weights[s] >= 0.005]
    return f"{visible(tokens[t])} ({first + t}) looks at {', '.join(seen) or 'all about equally'}"


def _zoom(name: str, size: int) -> str:
    """The choice of the cells' size."""
    parts = [
        f'<input type="radio" name="{name}-z" id="{name}-z{pixels}"{" checked" if pixels == size else ""}>'
        f'<label for="{name}-z{pixels}">{pixels}</label>'
        for pixels in SIZES
    ]
    return f'<div class="zoom" role="radiogroup" aria-label="pixels per cell">pixels per cell: {"".join(parts)}</div>'


def _grid(name: str, tokens: Sequence[str], levels: np.ndarray, first: int) -> str:
    """The grid: rows look at columns. A click on a row's token chooses it."""
    T = len(tokens)
    names = [escaped(visible(token)) for token in tokens]
    rows = "".join(f'<label class="w{t}" for="{name}-{t}">{text}</label>' for t, text in enumerate(names))
    columns = "".join(f"<span>{text}</span>" for text in names)
    numbers = "".join(f'<i style="--n:{t}">{first + t}</i>' for t in range(0, T, EVERY))
    paths = dict.fromkeys(range(1, LEVELS + 1), "")
    for t, row in enumerate(levels):
        for start, end, level in runs(row):
            if level:
                paths[level] += f"M{start} {t}h{end - start}v1h{start - end}z"
    shapes = "".join(f'<path class="s{level}" d="{path}"/>' for level, path in paths.items() if path)
    return (
        '<div class="view" tabindex="0" role="group" aria-label="grid: each row looks at the columns">'
        '<div class="sheet">'
        f'<div class="corner">row looks at column</div><div class="columns" aria-hidden="true">{columns}{numbers}</div>'
        f'<div class="rows" aria-hidden="true">{rows}{numbers}</div><div class="cells">'
        f'<svg viewBox="0 0 {T} {T}" preserveAspectRatio="none" shape-rendering="crispEdges" aria-hidden="true">'
        f'{shapes}</svg><div class="mark"></div></div></div></div>'
    )


def _style(name: str, T: int, colour: str) -> str:
    n = f"#{name}"
    fixed = {"&": n, "TOKENS": str(T), "RGB": f"rgb({colour})", "PAPER": _PAPER, "TEXT": TEXT_STYLE, "FONT": _FONT}
    rules = [re.sub("&|[A-Z]{3,}", lambda found: fixed[found[0]], _RULES)]
    for size in SIZES:
        here = f"{n}:has(#{name}-z{size}:checked)"
        rules.append(f"{here}{{--c:{size}px}}")
        if size < READABLE:
            rules.append(f"{here} .view i{{display:block}}{here} .columns{{height:14px}}")
            rules.append(f"{here} .columns span,{here} .rows label{{color:transparent;padding:0;font-size:0}}")
    for level in range(1, LEVELS + 1):
        rules.append(f"{n} span.s{level}{{{shade(level, colour)}}}")
        rules.append(f"{n} path.s{level}{{fill-opacity:{opacity(level, 1.0):.3g}}}")  # no text lies on the grid
    # A token under the pointer is shown instead of the chosen one, unless the keyboard is in use.
    mouse = f"{n}{n}:not(:has(.text input:focus-visible))"
    over = f"{mouse}:has(label[class]:hover) input:checked+.layer"
    rules.append(f"{over},{over}+.says{{visibility:hidden}}")
    for t in range(T):
        here = f"{mouse}:has(.w{t}:hover)"
        rules.append(f"{n}:has(#{name}-{t}:checked){{--t:{t}}}{here}{{--t:{t}}}")
        rules.append(f"{here} #{name}-{t}+.layer,{here} #{name}-{t}+.layer+.says{{visibility:visible}}")
    return "".join(rules)
