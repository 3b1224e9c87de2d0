"""Scores of heads: what a text loses without each, and how much each copies what came after an earlier occurrence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microgpt.data.rng import generator
from microgpt.engine.trained.evaluate import token_losses, windows_at_once
from microgpt.engine.trained.run import Run
from microgpt.errors import UsageError
from microgpt.inspect import page
from microgpt.inspect.figures import Theme, heat, inked, number_cells
from microgpt.inspect.text import characters
from microgpt.model import GPT
from microgpt.model.instruments import tapped
from microgpt.model.patches import Patch, zero

RED, BLUE = "220,60,50", "50,110,230"


@dataclass(frozen=True)
class HeadScores:
    """A number for each head."""

    title: str
    unit: str
    values: np.ndarray
    "(L, H)"

    def ranked(self) -> list[tuple[int, int, float]]:
        """(layer, head, score), the highest first."""
        order = np.argsort(-self.values, axis=None, kind="stable")
        heads = self.values.shape[1]
        return [(int(i) // heads, int(i) % heads, float(self.values.flat[i])) for i in order]

    def plot(self, theme: Theme = "light") -> Any:
        """The scores by layer and head; a matplotlib figure."""
        layers, heads = self.values.shape
        names = [f"layer {i}" for i in range(layers)]
        figure, axes = heat(self.values, self.unit, [str(h) for h in range(heads)], names, theme)
        number_cells(figure, axes)
        axes.set_xlabel("head")
        axes.set_title(self.title, fontsize=10)
        return inked(figure, theme)

    def _repr_html_(self) -> str:
        most = float(np.abs(self.values).max()) or 1.0
        rows = [[f"layer {i}", *(f"{v:.3f}" for v in row)] for i, row in enumerate(self.values.tolist())]
        shades = [
            ["", *(page.shade(round(page.LEVELS * abs(v) / most), RED if v < 0 else BLUE) for v in row)]
            for row in self.values.tolist()
        ]
        head = ["", *(f"head {h}" for h in range(self.values.shape[1]))]
        return page.framed(self.title, page.table(head, rows, shades), page.escaped(self.unit))


@torch.no_grad()
def head_importance(run: Run, text: str, patch: Patch = zero) -> HeadScores:
    """How much worse a text is predicted when a head's output is replaced, in bits per character, one head at a time
    (Michel et al., https://arxiv.org/abs/1905.10650). Negative: it is predicted better.

    Args:
        text: of two tokens or more; a longer one than the context is cut into windows of the context's length.
        patch: what takes the place of the head's output, (B, T, C): `zero`, `mean`, a tensor or a function.

    Raises:
        DataError: the tokenizer does not know a character.
        UsageError: the text is shorter than two tokens.
    """
    model, ids = run.model, run.tokenizer.encode(text)
    if len(ids) < 2:
        raise UsageError(f"a text of {len(ids)} tokens", "head_importance", "give it two or more")
    scored = sum(characters(ids, run.tokenizer)[1:])
    windows = windows_of(torch.tensor(ids, device=model.wte.weight.device), model.config.block_size)
    layers, heads = model.config.n_layer, model.config.n_head
    was_training = model.training
    model.eval()
    try:
        whole, values = loss_sum(model, windows), np.zeros((layers, heads))
        for layer in range(layers):
            for head in range(heads):
                with model.patched({f"blocks.{layer}.attn.head.{head}": patch}):
                    values[layer, head] = loss_sum(model, windows) - whole
    finally:
        model.train(was_training)
    bits = values / math.log(2) / max(1, scored)
    return HeadScores(f"loss rise without each head, n = {scored} characters", "bits per character", bits)


def windows_of(ids: Tensor, T: int) -> list[tuple[Tensor, Tensor]]:
    """The text as batches of windows x (b, T) and their next tokens y; each token but the first is predicted once."""
    whole = (len(ids) - 1) // T * T
    pairs = [(ids[:whole].view(-1, T), ids[1 : whole + 1].view(-1, T))] if whole else []
    if len(ids) - 1 > whole:
        pairs.append((ids[None, whole:-1], ids[None, whole + 1 :]))
    return pairs


def loss_sum(model: GPT, windows: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The loss of all tokens together, in nats."""
    total = 0.0
    for x, y in windows:
        at_once = windows_at_once(None, x.shape[1], model.vocab_size)
        for some, after in zip(torch.split(x, at_once), torch.split(y, at_once), strict=True):
            total += math.fsum(token_losses(model, some, after)[1].flatten().tolist())
    return total


@torch.no_grad()
def induction_score(model: GPT | Run, length: int | None = None, rows: int = 8, seed: int = 0) -> HeadScores:
    """How much each head attends to the token after the last occurrence of the present one
    (Olsson et al., https://arxiv.org/abs/2209.11895).

    On texts of random tokens, all different, that repeat once: the mean attention of the second half to the token that
    followed in the first, which is 1 for a perfect induction head.

    Args:
        length: tokens that repeat; by default half of the context, 64 at most, and no more than the vocabulary has.
        rows: number of texts.
        seed: of the random tokens. No other random state is read or changed.

    Raises:
        UsageError: the repeated tokens do not fit the context or the vocabulary, or there is nothing to repeat.
    """
    model = model.model if isinstance(model, Run) else model
    most = min(model.config.block_size // 2, model.vocab_size)
    n = min(most, 64) if length is None else length
    if not 1 < n <= most:
        what = f"{n} tokens to repeat in a context of {model.config.block_size} with {model.vocab_size} different ones"
        raise UsageError(what, "induction_score", "twice the length must fit the context; it must be 2 or more")
    if rows < 1:
        raise UsageError(f"rows {rows}", "induction_score", "it must be 1 or more")
    draws = [generator(seed, "induction", row).permutation(model.vocab_size)[:n] for row in range(rows)]
    once = torch.from_numpy(np.stack(draws))
    tap, was_training = _Induction(n), model.training
    model.eval()
    try:
        with tapped(model, [tap]):
            model.trunk(once.repeat(1, 2).to(model.wte.weight.device))
    finally:
        model.train(was_training)
    scores = [tap.scores[layer].cpu().numpy() for layer in range(model.config.n_layer)]
    return HeadScores(f"induction, n = {rows} texts of 2 x {n} tokens", "induction score", np.stack(scores))


class _Induction:
    """The tap that scores the heads of each layer on a text of n tokens that repeat."""

    def __init__(self, n: int) -> None:
        self.n, self.scores = n, dict[int, Tensor]()

    def wants(self, name: str) -> bool:
        return name.endswith(".attn.probabilities")

    def see(self, name: str, value: Tensor) -> Tensor:
        """(B, H, 2n, 2n): query n + i should find key i + 1."""
        stripe = value.float().diagonal(1 - self.n, dim1=-2, dim2=-1)[..., 1:]  # (B, H, n), from query n on
        self.scores[int(name.split(".")[1])] = stripe.mean(dim=(0, 2))
        return value
