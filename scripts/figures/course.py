"""Two steps of the course: what rotary positions make of a query and a key, and where the norms stand.

python scripts/figures/course.py
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from figure_rig import SMALL, Rig, draw, points
from microgpt.engine.trained.drawing import COLOURS, new_figure
from microgpt.engine.trained.run import Run
from microgpt.model.pos.rope import RoPE

FIGURES = ("rotary.png", "norm-place.png")
WIDTH, LENGTH = 32, 64
PLACES = ("pre", "post", "sandwich")


def main(argv: Sequence[str] | None = None) -> None:
    """Draw both."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Rotate without training; train with each place of the norms."""
    rig.save(rotary(), FIGURES[0])
    runs = {
        place: rig.train(place, *SMALL, f"model.norm_place={place}", f"trainer.max_steps={rig.steps(200)}",
                         f"eval.every_n_steps={2 if rig.quick else 40}")
        for place in PLACES
    }  # fmt: skip
    rig.save(places(runs), FIGURES[1])


def rotary() -> Any:
    """The products of one query and one key, turned to every pair of positions."""
    q, k = torch.randn(2, 1, 1, WIDTH, generator=torch.Generator().manual_seed(5)).expand(2, 1, LENGTH, WIDTH)
    turned, keys = RoPE(WIDTH, LENGTH, 10_000.0).rotate(q, k, 0)
    products = (turned @ keys.mT)[0].numpy()
    causal = np.where(np.tri(LENGTH, dtype=bool), products, np.nan)
    figure, (left, right) = new_figure(6.4, 3.2, panels=(1, 2))
    bound = float(np.abs(products).max())
    left.imshow(causal, cmap="RdBu", vmin=-bound, vmax=bound)
    left.grid(visible=False)
    left.set(xlabel="position of the key", ylabel="position of the query", title="query · key")
    for i, colour in zip((63, 47, 31), COLOURS, strict=False):
        right.plot(products[i, : i + 1][::-1], color=colour, linewidth=4.5 - i / 20, label=f"query at {i}")
    right.set(xlabel="distance", title="by distance: one curve")
    right.legend(fontsize=8, frameon=False)
    return figure


def places(runs: dict[str, Run]) -> Any:
    """The validation loss by step for each place of the norms."""
    figure, axes = new_figure(6.4, 3.4)
    for (place, run), colour in zip(runs.items(), COLOURS, strict=False):
        steps, losses = points(run, "val/loss")
        print(f"{place}: {losses[-1]:.4f} nats per character")
        axes.plot(steps, losses, "o-", color=colour, markersize=3, label=f"model.norm_place={place}: {losses[-1]:.3f}")
    axes.set(xlabel="step", ylabel="validation loss (nats)")
    axes.legend(fontsize=8, frameon=False)
    return figure


if __name__ == "__main__":
    main()
