"""What a metric is, and what an evaluation collects for it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from microgpt.registry import Part

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ScoredBatch:
    """One forward pass of an evaluation: b windows of T tokens, a vocabulary of V."""

    x: "Tensor"
    "int64 (b, T): the tokens."
    y: "Tensor"
    "int64 (b, T): the token after each."
    scored: "Tensor"
    "bool (b, T): the positions of y that count."
    logits: "Tensor"
    "(b, T, V), in the model's number format."
    losses: "Tensor"
    "float32 (b, T): nats, 0 where the position does not count."


@dataclass(frozen=True)
class Totals:
    """What an evaluation found over the whole text, for every metric to draw on."""

    loss: float
    "Mean of the scored tokens, in nats."
    tokens: int
    "Tokens that were scored."
    chars_per_token: float
    bytes_per_token: float
    "Of UTF-8."


class Metric(Part, ABC, family="metric"):
    """One figure of an evaluation; a subclass with `name=` joins the table.

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

    As `val/top5` it then stands in metrics.csv, TensorBoard and summary.json, and as `top5` in the output of
    microgpt-evaluate. Each evaluation makes an instance of its own.
    """

    unit: ClassVar[str] = ""
    "What follows the number in a line of text; a metric without a unit is shown after its name."
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    format: ClassVar[str] = ".4f"
    "How microgpt-evaluate and the last lines of a run print the number."
    progress_format: ClassVar[str] = ""
    "How the progress line of an evaluation prints it; empty leaves it out."
    headline: ClassVar[bool] = False
    "Whether the last lines of a run, microgpt-compare and the test scores of a model card show it."

    def update(self, batch: ScoredBatch) -> None:
        """Count one batch. A metric that follows from `Totals` alone needs none of it."""

    @abstractmethod
    def result(self, totals: Totals) -> float:
        """The figure, once every batch is counted."""

    @classmethod
    def quantity(cls, value: float) -> str:
        """The number and its unit: `1.4697 nats per token`, `57.12%`."""
        return f"{format(value, cls.format)} {cls.unit}".strip()

    @classmethod
    def text(cls, value: float) -> str:
        """The figure as it stands in a list of others: `1.4697 nats per token`, `accuracy 57.12%`."""
        return cls.quantity(value) if cls.unit else f"{cls.name} {cls.quantity(value)}"

    @classmethod
    def progress(cls, value: float) -> str:
        """The figure in a progress line; empty where it has no place there."""
        if not cls.progress_format:
            return ""
        return f"{f'val/{cls.name}' if cls.unit else cls.name} {format(value, cls.progress_format)}"
