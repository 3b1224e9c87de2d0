"""Score a model on a text: a protocol picks the windows, the metrics compute the figures. Imports only torch."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from microgpt.config import Config, Count, Natural, OneOf
from microgpt.data.baselines import ngram, order0
from microgpt.data.documents import EncodedDocuments
from microgpt.data.encoded_text import EncodedText
from microgpt.data.scored_windows import Batch
from microgpt.engine.process import signals
from microgpt.engine.trained.metrics import Metric, ScoredBatch, Totals
from microgpt.engine.trained.protocols import EvalProtocol
from microgpt.model import GPT
from microgpt.text import did_you_mean

PER_DOCUMENT = "document_loss"
"""The figure that a score of documents has besides the metrics: nats per document, mean."""


class EvalConfig(Config):
    """Evaluation on the validation split."""

    every_n_steps: Natural = 250
    "Steps between evaluations; 0 evaluates only at the end."
    protocol: Annotated[str, OneOf(lambda: EvalProtocol.members)] = "blocks"
    "random (nanoGPT's estimate), blocks (each token once) or sliding (each token once, with long context)."
    batch_size: Count | None = None
    "Windows per forward pass; null fits about 16,000 tokens, or fewer for a large vocabulary."
    figures: Literal["end", "always", "never"] = "end"
    "When to draw attention maps and the loss by position for TensorBoard."


@dataclass(frozen=True)
class Score:
    """An evaluation's figures. Read each metric by its name: `score.loss`, `score.bpc`, `score.mine`."""

    protocol: str
    tokens: int
    "Number of scored tokens."
    values: dict[str, float]
    "The metrics by name, in table order."
    loss_by_position: list[float]
    "Nats per token at each position of the context; NaN at positions without a scored token."
    position_errors: tuple[float, ...] = ()
    "Standard errors of these means; NaN at positions with fewer than two scored tokens."

    def __getattr__(self, name: str) -> float:
        values = self.__dict__.get("values", {})
        if name not in values:
            raise AttributeError(f"no metric {name!r}; {did_you_mean(name, values)}" if values else name)
        return float(values[name])

    def metrics(self, split: str = "val") -> dict[str, float]:
        """The metrics under their names in metrics.csv and TensorBoard: `val/loss`, ..."""
        return {f"{split}/{name}": value for name, value in self.values.items()}


class Tally:
    """Accumulate losses and metrics over an evaluation's windows."""

    def __init__(self, block_size: int) -> None:
        self.loss_sum = torch.zeros(block_size, dtype=torch.float64, device="cpu")
        self.square_sum = torch.zeros(block_size, dtype=torch.float64, device="cpu")
        self.scored_sum = torch.zeros(block_size, dtype=torch.int64, device="cpu")
        self.metrics: dict[str, Metric] = {name: metric() for name, metric in Metric.members.items()}

    def add(self, model: GPT, x: Tensor, y: Tensor, scored: Tensor) -> None:
        """Score windows, (b, T) each, with the model in its current mode. Frees their logits before returning."""
        logits, losses = token_losses(model, x, y)
        losses = losses.masked_fill(~scored, 0)
        t = x.shape[1]
        exact = losses.double() if x.device.type != "mps" else losses  # MPS has no float64
        self.loss_sum[:t] += exact.sum(0).cpu().double()
        self.square_sum[:t] += exact.square().sum(0).cpu().double()
        self.scored_sum[:t] += scored.sum(0).cpu()
        batch = ScoredBatch(x, y, scored, logits, losses)
        for metric in self.metrics.values():
            metric.update(batch)

    def score(self, protocol: str, chars_per_token: float, bytes_per_token: float) -> Score:
        """The figures over all windows."""
        tokens = int(self.scored_sum.sum())
        totals = Totals(float(self.loss_sum.sum()) / tokens, tokens, chars_per_token, bytes_per_token)
        values = {name: float(metric.result(totals)) for name, metric in self.metrics.items()}
        positions = zip(self.loss_sum, self.scored_sum, strict=True)
        means = [float(s / n) if n else math.nan for s, n in positions]
        n = self.scored_sum.double()
        variances = (self.square_sum - self.loss_sum.square() / n).clamp(min=0) / (n - 1)
        errors = tuple(
            e if k > 1 else math.nan for e, k in zip((variances / n).sqrt().tolist(), n.tolist(), strict=True)
        )
        return Score(protocol, tokens, values, means, errors)


@torch.no_grad()
def evaluate(  # noqa: PLR0913 - settings by name, as a notebook gives them
    model: GPT,
    ids: Any,
    *,
    protocol: str = "blocks",
    batch_size: int | None = None,
    chars_per_token: float = 1.0,
    bytes_per_token: float = 1.0,
    context: contextlib.AbstractContextManager[Any] | None = None,
) -> Score:
    """Score a model on a text. Deterministic; changes neither the model nor any random state.

    Args:
        ids: indices of the text, 1-D; or documents, which are scored one by one, and also in nats per document.
        protocol: name of an `EvalProtocol`: "blocks", "sliding", "random" or one of your own.
        batch_size: windows per forward pass.
        chars_per_token: this text's ratio, for bits per character.
        bytes_per_token: this text's ratio in UTF-8, for bits per byte.
        context: context manager around the forward passes, such as autocast.

    Raises:
        DataError: the text has fewer than two tokens, or for `random` less than a window.
        UsageError: no protocol has this name.
    """
    device = next(model.parameters()).device
    T = model.config.block_size
    batch_size = windows_at_once(batch_size, T, model.vocab_size)
    windows = windows_of(EvalProtocol.named(protocol, "protocol")(), ids, T, batch_size, device)
    tally = Tally(T)
    was_training = model.training
    model.eval()
    try:
        with context or contextlib.nullcontext():
            for x, y, scored in windows:
                signals.give_way()
                tally.add(model, x, y, scored)
    finally:
        model.train(was_training)
    score = tally.score(protocol, chars_per_token, bytes_per_token)
    if isinstance(ids, EncodedDocuments):
        score.values[PER_DOCUMENT] = score.loss * ids.scored_tokens / len(ids.starts)
    return score


def score_text(model: GPT, text: EncodedText, **settings: Any) -> Score:
    """Score a model on an encoded text, also per character and per byte; the settings and errors are `evaluate`'s."""
    chars, in_bytes = text.chars_per_token, text.bytes_per_token
    return evaluate(model, text.scored, chars_per_token=chars, bytes_per_token=in_bytes, **settings)


def token_losses(model: GPT, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(b, T) tokens and their next tokens -> logits (b, T, V) and the loss per token in nats (b, T)."""
    logits, _ = model(x)
    losses = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view_as(y)
    return logits, losses


def windows_at_once(knob: int | None, block_size: int, vocab_size: int) -> int:
    """Windows per forward pass: `eval.batch_size`, or by default a number that bounds the size of the logits."""
    return knob or max(1, min(16384, 2**27 // vocab_size) // block_size)


def windows_of(
    protocol: EvalProtocol, ids: Any, block_size: int, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """The windows that score a text, or documents one by one; the arguments are as in `EvalProtocol.windows`."""
    is_documents = isinstance(ids, EncodedDocuments)
    return (protocol.document_windows if is_documents else protocol.windows)(ids, block_size, batch_size, device)


def yardsticks(train: Any, scored: Any, vocab_size: int) -> dict[str, float]:
    """The n-gram baselines' loss on `scored`, in nats per token, to compare a model's loss with."""
    train, scored = (ids.without_starts() if isinstance(ids, EncodedDocuments) else ids for ids in (train, scored))
    return {
        "token frequencies": order0(train, scored, vocab_size),
        "5-gram counts": ngram(train, scored, vocab_size, order=5),
    }
