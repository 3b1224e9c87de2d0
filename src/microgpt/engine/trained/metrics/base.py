"""The base class of metrics and the data that an evaluation gives them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from microgpt.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ScoredBatch:
    """One forward pass of an evaluation: b windows of T tokens, vocabulary size V."""

    x: "Tensor"
    "int64 (b, T): the tokens."
    y: "Tensor"
    "int64 (b, T): the token after each."
    scored: "Tensor"
    "bool (b, T): the positions of y that count."
    logits: "Tensor"
    "(b, T, V), in the model's number format."
    losses: "Tensor"
    "float32 (b, T): nats, 0 at positions that do not count."


@dataclass(frozen=True)
class Totals:
    """An evaluation's totals over the whole text, shared by all metrics."""

    loss: float
    "Mean over the scored tokens, in nats."
    tokens: int
    "Number of scored tokens."
    chars_per_token: float
    bytes_per_token: float
    "Bytes of UTF-8 per token."


class Metric(Part, ABC, family="metric"):
    """One figure of an evaluation; a subclass with `name=` registers a metric.

        class Top5(Metric, name="top5"):
            better = "higher"
            format = ".1%"
            hits = 0

            def update(self, batch):
                best = batch.logits.topk(5).indices                        # (b, T, 5)
                hits = (best == batch.y[..., None]).any(-1) & batch.scored  # (b, T)
                self.hits += int(hits.sum())

            def result(self, totals):
                return self.hits / totals.tokens

    The metric then appears as `val/top5` in metrics.csv, TensorBoard and summary.json, and as `top5` in the output of
    microgpt-evaluate. Each evaluation creates a new instance.
    """

    unit: ClassVar[str] = ""
    "Printed after the number; a metric without a unit is printed after its name."
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    format: ClassVar[str] = ".4f"
    "Format of the number in microgpt-evaluate and in a run's last lines."
    progress_format: ClassVar[str] = ""
    "Format of the number in an evaluation's progress line; empty omits it."
    headline: ClassVar[bool] = False
    "Whether a run's last lines, microgpt-compare and a model card's test scores show the metric."

    def update(self, batch: ScoredBatch) -> None:
        """Count one batch. A metric computed from `Totals` alone need not override this."""

    @abstractmethod
    def result(self, totals: Totals) -> float:
        """The figure, after all batches are counted."""

    @classmethod
    def quantity(cls, value: float) -> str:
        """The number and its unit: `1.4697 nats per token`, `57.12%`."""
        return f"{format(value, cls.format)} {cls.unit}".strip()

    @classmethod
    def text(cls, value: float) -> str:
        """The figure as printed in a list: `1.4697 nats per token`, `accuracy 57.12%`."""
        return cls.quantity(value) if cls.unit else f"{cls.name} {cls.quantity(value)}"

    @classmethod
    def progress(cls, value: float) -> str:
        """The figure as printed in a progress line; empty if the line omits it."""
        if not cls.progress_format:
            return ""
        return f"{f'val/{cls.name}' if cls.unit else cls.name} {format(value, cls.progress_format)}"
