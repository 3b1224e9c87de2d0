"""Scores on a whole text under protocols that say their name. Needs torch alone.

`blocks`   windows side by side: each token is scored once, with 0 to T - 1 tokens of context.
`sliding`  windows every T/4 tokens: each token is scored once, with at least 3T/4 tokens of context.
`random`   nanoGPT's: the mean over windows drawn at random, 200 batches of them; an estimate, and the same each time.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from microgpt.config import Config, Count, Natural
from microgpt.data.baselines import ngram, order0
from microgpt.data.evaluation import blocks, sliding
from microgpt.data.windows import Windows
from microgpt.engine.process import signals
from microgpt.model import GPT

Protocol = Literal["random", "blocks", "sliding"]
RANDOM_BATCHES = 200
RANDOM_SEED = 0  # the windows of the protocol `random` belong to it, not to a run


class EvalConfig(Config):
    """Evaluation on the validation split."""

    every_n_steps: Natural = 250
    "Steps between two evaluations; 0 evaluates at the end alone."
    protocol: Protocol = "blocks"
    "random (nanoGPT's estimate), blocks (each token once) or sliding (each token once, with long context)."
    batch_size: Count | None = None
    "Windows per forward pass; null: with about 16,000 tokens, fewer if the vocabulary is large."
    figures: Literal["end", "always", "never"] = "end"
    "When to draw attention maps and the loss by position for TensorBoard."


@dataclass(frozen=True)
class Score:
    """What an evaluation found. Losses are in nats per token unless they say otherwise."""

    protocol: str
    loss: float
    bpc: float
    bpb: float
    perplexity: float
    accuracy: float
    tokens: int
    loss_by_position: list[float]

    def metrics(self, split: str = "val") -> dict[str, float]:
        """The figures by their names in metrics.csv and TensorBoard."""
        return {
            f"{split}/loss": self.loss,
            f"{split}/bpc": self.bpc,
            f"{split}/bpb": self.bpb,
            f"{split}/perplexity": self.perplexity,
            f"{split}/accuracy": self.accuracy,
        }


@torch.no_grad()
def evaluate(
    model: GPT,
    ids: Any,
    *,
    protocol: Protocol = "blocks",
    batch_size: int | None = None,
    chars_per_token: float = 1.0,
    bytes_per_token: float = 1.0,
    context: contextlib.AbstractContextManager[Any] | None = None,
) -> Score:
    """Score a model on a text; deterministic, and without a trace on the model or any random state.

    Args:
        ids: indices of the text, 1-D.
        batch_size: windows per forward pass.
        chars_per_token: of this text, to give bits per character.
        bytes_per_token: of this text, to give bits per byte of UTF-8.
        context: entered around the forward passes, such as autocast.

    Raises:
        DataError: when the text has fewer than two tokens, or for `random` less than a window.
    """
    device = next(model.parameters()).device
    T = model.config.block_size
    batch_size = windows_at_once(batch_size, T, model.vocab_size)
    loss_sum = torch.zeros(T, dtype=torch.float64, device="cpu")
    scored_sum = torch.zeros(T, dtype=torch.int64, device="cpu")
    correct = torch.zeros((), dtype=torch.int64, device=device)
    was_training = model.training
    model.eval()
    try:
        with context or contextlib.nullcontext():
            for x, y, scored in _windows(protocol, ids, T, batch_size, device):
                signals.give_way()
                losses, guesses = token_losses(model, x, y)
                losses = losses.masked_fill(~scored, 0)  # (b, T)
                t = x.shape[1]
                loss_sum[:t] += losses.double().sum(0).cpu() if device.type != "mps" else losses.sum(0).cpu().double()
                scored_sum[:t] += scored.sum(0).cpu()
                correct += ((guesses == y) & scored).sum()
    finally:
        model.train(was_training)
    tokens = int(scored_sum.sum())
    loss = float(loss_sum.sum()) / tokens
    return Score(
        protocol=protocol,
        loss=loss,
        bpc=loss / math.log(2) / chars_per_token,
        bpb=loss / math.log(2) / bytes_per_token,
        perplexity=math.exp(min(loss, 700.0)),
        accuracy=int(correct) / tokens,
        tokens=tokens,
        loss_by_position=[float(s / n) if n else math.nan for s, n in zip(loss_sum, scored_sum, strict=True)],
    )


def token_losses(model: GPT, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(b, T) tokens and their followers -> each one's loss in nats, and the likeliest follower, (b, T) both."""
    logits, _ = model(x)  # (b, T, V)
    losses = F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view_as(y)
    return losses, logits.argmax(-1)


def windows_at_once(knob: int | None, block_size: int, vocab_size: int) -> int:
    """Windows per forward pass for `eval.batch_size`; by itself, so many that their logits are not too many."""
    return knob or max(1, min(16384, 2**27 // vocab_size) // block_size)


def _windows(
    protocol: Protocol, ids: Any, block_size: int, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """x, y and which positions of y count: (b, T) each."""
    if protocol == "blocks":
        yield from blocks(ids, block_size, batch_size, device)
    elif protocol == "sliding":
        yield from sliding(ids, block_size, batch_size, device)
    else:
        windows = Windows(ids, block_size, batch_size, RANDOM_SEED, device=device, stream="eval")
        for step in range(RANDOM_BATCHES):
            x, y = windows.batch(step)
            yield x, y, torch.ones_like(y, dtype=torch.bool)


def yardsticks(train: Any, scored: Any, vocab_size: int) -> dict[str, float]:
    """What counting alone reaches on `scored`, in nats per token, so that a reader knows what a loss means."""
    return {
        "token frequencies": order0(train, scored, vocab_size),
        "5-gram counts": ngram(train, scored, vocab_size, order=5),
    }
