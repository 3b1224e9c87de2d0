"""The default run at four moments: its score and what it writes.

python scripts/figures/moments.py
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from figure_rig import Rig, draw, points
from microgpt.engine.exchange.page.story import samples
from microgpt.engine.store.run_folder import RunDir
from microgpt.engine.trained.drawing import COLOURS, drawable, new_figure
from microgpt.engine.trained.run import Run

FIGURES = ("moments.png", "report.png", "run-plot.png")
MOMENTS = (20, 80, 200, 600)
WIDTH, LINES = 57, 3
"""Characters in a line of a sample, and lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train the default run and draw it."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train with a sample and an evaluation every twenty steps."""
    every = 1 if rig.quick else 20
    moments = (1, 2, 3, 4) if rig.quick else MOMENTS
    often = [f"{knob}={every}" for knob in ("eval.every_n_steps", "sample.every_n_steps", "trainer.log_every_n_steps")]
    run = rig.train("default", f"trainer.max_steps={moments[-1]}", "eval.figures=end",
                    "trainer.precision=auto", "sample.prompts=['The ']",
                    "sample.max_new_tokens=300", *often)  # fmt: skip
    written = {found["step"]: found["text"] for found in samples(RunDir(run.folder).log)}
    rig.save(at_moments(run, {step: written.get(step, "") for step in moments}), FIGURES[0])
    rig.take(run.folder / "report.png", FIGURES[1])
    rig.save(run.plot(), FIGURES[2])


def at_moments(run: Run, texts: dict[int, str]) -> Any:
    """The score against the steps, and under it the sample of each moment."""
    figure, (top, *rows) = new_figure(6.4, 6.6, panels=(1 + len(texts), 1))
    top.get_gridspec().set_height_ratios([2.2, *[1.0] * len(texts)])
    steps, scores = points(run, "val/bpc")
    score = dict(zip(steps, scores, strict=True))
    top.plot(steps, scores, color="#555555", linewidth=1.3)
    top.set_xscale("log")
    top.set_xticks(list(texts), [str(step) for step in texts])
    top.minorticks_off()
    top.set_xlabel("step, of 32 x 64 characters", fontsize=9)
    top.set_ylabel("bits per character", fontsize=9)
    for axes, (step, text), colour in zip(rows, texts.items(), COLOURS, strict=False):
        top.plot([step], [score[step]], "o", color=colour, markersize=8)
        axes.set_axis_off()
        axes.set_title(f"step {step}: {score[step]:.2f} bits per character", fontsize=10, loc="left", color=colour,
                       fontweight="bold", pad=3)  # fmt: skip
        axes.text(0, 1, shown(text), family="DejaVu Sans Mono", fontsize=11, va="top", transform=axes.transAxes)
    return figure


def shown(text: str) -> str:
    """The first lines of a sample, white space drawn together, as they fit the figure."""
    lines = textwrap.wrap(" ".join(text.split()), WIDTH, break_on_hyphens=False)[:LINES]
    return "\n".join(drawable(line, WIDTH + 2) for line in lines)


if __name__ == "__main__":
    main()
