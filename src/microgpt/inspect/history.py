"""The rise of induction over a run's steps, beside its loss, from metrics.csv."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from microgpt.engine.store.metrics_file import read_curves
from microgpt.engine.store.run_folder import RunDir
from microgpt.engine.trained.drawing import draw_legend
from microgpt.engine.trained.run import Run
from microgpt.errors import UsageError
from microgpt.inspect import page
from microgpt.inspect.figures import Theme, canvas, inked

INDUCTION = "inspect/induction"
"""The best head's induction score in metrics.csv."""
_LOSSES = ("val/loss", "train/loss")


@dataclass(frozen=True)
class InductionHistory:
    """The best head's induction score and the losses, by step."""

    induction: np.ndarray
    "(n, 2): steps and scores."
    losses: dict[str, np.ndarray]
    "val/loss and train/loss, (m, 2) each: steps and nats per token."

    def plot(self, theme: Theme = "light") -> Any:
        """Losses and induction over the steps; a matplotlib figure."""
        figure, axes = canvas(6, 3.5, theme)
        for (name, curve), style in zip(self.losses.items(), ("-o", "-"), strict=False):
            axes.plot(*curve.T, style, markersize=3, color="tab:gray", alpha=0.9 if style == "-o" else 0.7, label=name)
        axes.set_title(f"induction over training, n = {len(self.induction)} scores", fontsize=9)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel("loss (nats per token)")
        right = axes.twinx()
        right.plot(*self.induction.T, "-s", markersize=3, color="tab:orange", label="induction")
        right.set_ylim(0, 1.02)
        right.set_ylabel("induction score of the best head")
        lines = [*axes.get_lines(), *right.get_lines()]
        right.set_facecolor(axes.get_facecolor())
        draw_legend(right, 8, handles=lines, loc="upper center", ncols=3)
        axes.set_ylim(top=axes.get_ylim()[1] * 1.12)
        return inked(figure, theme)

    def _repr_html_(self) -> str:
        loss = {name: dict(map(tuple, curve.tolist())) for name, curve in self.losses.items()}
        rows = [
            [f"{step:.0f}", f"{score:.3f}", *(f"{curve[step]:.4f}" if step in curve else "" for curve in loss.values())]
            for step, score in self.induction.tolist()
        ]
        return page.framed("induction over training", page.table(("step", "induction", *loss), rows))


def induction_history(run: Run | str | Path) -> InductionHistory:
    """The induction scores that a run logged with `inspect.every_n_steps`.

    Raises:
        UsageError: the run logged none.
        CheckpointError: its metrics.csv cannot be read.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    folder = folder.parent if folder.name == "model" else folder
    curves = read_curves(RunDir(folder).metrics)
    if INDUCTION not in curves:
        raise UsageError("no induction scores", str(folder), "train with inspect.every_n_steps=100, or another number")
    losses = {name: np.array(curves[name]) for name in _LOSSES if name in curves}
    return InductionHistory(np.array(curves[INDUCTION]), losses)
