"""The position scheme that docs/your-own-part.md writes, beside others: its bias, and what it learns.

python scripts/figures/own_part.py
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figure_rig import SMALL, Rig, draw, points
from microgpt.engine.trained.drawing import COLOURS, new_figure
from microgpt.engine.trained.run import Run

FIGURES = ("own-part.png",)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-own-part.md"
SCHEMES = {
    "none": ("model.pos=none",),
    "ramp, slope 0.05": ("model.pos=ramp", "model.pos.slope=0.05"),
    "ramp, slope 0.5": ("model.pos=ramp", "model.pos.slope=0.5"),
    "alibi": ("model.pos=alibi",),
    "rope": ("model.pos=rope",),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page's files, train with them and draw."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train each scheme for a few hundred steps."""
    for block in re.findall(r"^```\w+\n# (mine/\S+\n.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S):
        name, _, text = block.partition("\n")
        path = rig.scratch / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    runs: dict[str, Run] = {}
    for name, words in SCHEMES.items():
        runs[name] = rig.train(
            name, *SMALL, *words, f"trainer.max_steps={rig.steps(300)}", f"eval.every_n_steps={2 if rig.quick else 50}",
            f"imports=[{rig.scratch}/mine/ramp.py]", config_dir=rig.scratch / "mine",
        )  # fmt: skip
    rig.save(panels(runs), FIGURES[0])


def panels(runs: dict[str, Run]) -> Any:
    """What each adds to attention by distance, and the validation loss by step."""
    figure, (top, bottom) = new_figure(6.4, 6.2, panels=(2, 1))
    for (name, run), colour in zip(runs.items(), ("#7F7F7F", *COLOURS), strict=False):
        steps, losses = points(run, "val/loss")
        print(f"{name}: {losses[-1]:.4f} nats per character after {steps[-1]:.0f} steps")
        bottom.plot(steps, losses, "o-", markersize=3, color=colour, label=f"{name}: {losses[-1]:.3f}")
        length = run.config.block_size
        bias = run.model.pos.bias(length, length)
        if bias is not None:
            heads = bias.expand(run.config.n_head, length, length)[:, -1].flip(-1).tolist()  # by distance
            for i, head in enumerate(heads if "ramp" not in name else heads[:1]):
                top.plot(head, color=colour, linewidth=1.4, label=name if i == 0 else None)
    top.set(xlabel="distance (characters)", ylabel="added to the score of attention", ylim=(-8, 0.3),
            title="bias (alibi has a slope for each head)")  # fmt: skip
    bottom.set(xlabel="step", ylabel="validation loss (nats)")
    for axes in (top, bottom):
        axes.legend(fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
