"""How often the likeliest token is correct."""

from typing import TYPE_CHECKING

from microgpt.engine.trained.metrics.base import Metric, ScoredBatch, Totals

if TYPE_CHECKING:
    from torch import Tensor


class Accuracy(Metric, name="accuracy"):
    """Share of scored tokens to which the model gave the highest probability."""

    better = "higher"
    format = ".2%"
    progress_format = ".1%"

    def __init__(self) -> None:
        self.correct: Tensor | int = 0  # kept on the device: reading it would wait for every batch

    def update(self, batch: ScoredBatch) -> None:
        self.correct = self.correct + ((batch.logits.argmax(-1) == batch.y) & batch.scored).sum()

    def result(self, totals: Totals) -> float:
        return int(self.correct) / totals.tokens
