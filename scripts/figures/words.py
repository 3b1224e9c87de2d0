"""The glossary's words for data, drawn: corpus, split, token, window, context, batch, micro-batch, step.

python scripts/figures/words.py
"""

from collections.abc import Sequence
from html import escape

from figure_rig import Rig, draw

FIGURES = ("words.svg",)
TEXT = "the cat sat on the mat."
TRAINING, LENGTH = 18, 8
"""Tokens of the training split, and of a window's context."""
STARTS = (4, 0, 9, 7)
WIDTH, CELL = 480, 18
TRAIN, VAL, NEXT = "#bcd9f0", "#f6c9a8", "#bfe3cf"


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the words."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Write the picture."""
    rig.out.mkdir(parents=True, exist_ok=True)
    (rig.out / FIGURES[0]).write_text(picture(), encoding="utf-8")
    print(f"wrote {rig.out / FIGURES[0]}")


def picture() -> str:
    """The words as an SVG on paper of its own."""
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 372" font-family="sans-serif" font-size="12" '
             'role="img" aria-label="Corpus, splits, windows, batch and micro-batches">',
             f'<rect width="{WIDTH}" height="372" fill="#ffffff"/>']  # fmt: skip
    lines += [label(20, 24, "corpus: each cell is a token, here a character")]
    lines += cells(20, 34, TEXT[:TRAINING], TRAIN) + cells(20 + TRAINING * CELL, 34, TEXT[TRAINING:], VAL)
    lines += [label(20, 70, "training split"), label(20 + TRAINING * CELL, 70, "validation split")]
    lines += [label(20, 104, f"window: model.block_size={LENGTH} tokens, and the token after each")]
    start = STARTS[0]
    lines += cells(20 + start * CELL, 114, TEXT[start : start + LENGTH], TRAIN)
    lines += cells(20 + start * CELL, 136, TEXT[start + 1 : start + 1 + LENGTH], NEXT)
    lines += [label(28 + (start + LENGTH) * CELL, 127, "x, what the model sees"),
              label(28 + (start + LENGTH) * CELL, 149, "y, what it is to predict")]  # fmt: skip
    lines += [label(20, 190, f"batch: the data.batch_size={len(STARTS)} windows of one step")]
    for row, start in enumerate(STARTS):
        y = 202 + 24 * row + 8 * (row >= 2)
        lines += cells(20, y, TEXT[start : start + LENGTH], TRAIN)
        lines += cells(32 + LENGTH * CELL, y, TEXT[start + 1 : start + 1 + LENGTH], NEXT)
    for y in (200, 256):
        x = 42 + 2 * LENGTH * CELL
        lines += [f'<path d="M{x} {y} h6 v46 h-6" fill="none" stroke="#555555"/>', label(x + 14, y + 28, "micro-batch")]
    lines += [label(20, 330, "step: one update of the parameters, from the gradient of the whole batch.")]
    lines += [label(20, 350, "Micro-batches go through the model one by one, or on several devices.")]
    return "\n".join([*lines, "</svg>", ""])


def label(x: float, y: float, text: str) -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" fill="#111111">{escape(text)}</text>'


def cells(x: float, y: float, text: str, colour: str) -> list[str]:
    """A token to a cell; a space is an open box."""
    found = []
    for i, character in enumerate(text):
        left = x + i * CELL
        shown = "\N{OPEN BOX}" if character == " " else escape(character)
        found.append(f'<rect x="{left}" y="{y}" width="{CELL}" height="20" fill="{colour}" stroke="#555555"/>'
                     f'<text x="{left + CELL / 2}" y="{y + 14}" text-anchor="middle" font-family="monospace" '
                     f'fill="#111111">{shown}</text>')  # fmt: skip
    return found


if __name__ == "__main__":
    main()
