"""What a model predicts along a text: surprisal, the likeliest tokens, and the predictions of each layer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microgpt.errors import UsageError
from microgpt.inspect import page
from microgpt.inspect.figures import Theme, drawable, heat, ink_on, inked, token_axis
from microgpt.inspect.text import Text
from microgpt.model import GPT

ORANGE, BLUE = "240,120,20", "60,130,240"
SHOWN_BEFORE = 12
"""Tokens of the text in a figure's title."""
SURPRISED = 8.0
"""Bits from which a token has the darkest shade: one chance in 256."""


@dataclass(frozen=True)
class Surprisal:
    """-log p of each token given those before it, NaN for the first, which nothing predicts."""

    nats: np.ndarray
    "(T,)"
    text: Text

    @property
    def bits(self) -> np.ndarray:
        """(T,): bits of each token."""
        return self.nats / math.log(2)

    @property
    def bits_per_character(self) -> float:
        """The mean over the characters of the predicted tokens; NaN if there are none."""
        characters = sum(self.text.characters[1:])
        return float(np.nansum(self.bits)) / characters if characters else math.nan

    def plot(self, theme: Theme = "light") -> Any:
        """The bits of each token as bars; a matplotlib figure."""
        figure, axes = token_axis(self.text.labels(), 2.6, theme)
        axes.bar(range(len(self.nats)), self.bits, color="tab:orange")
        axes.set_ylabel("surprisal (bits)")
        if len(self.nats) > 1:
            mean = f"{self.bits_per_character:.3f} bits per character"
            axes.set_title(f"surprisal, n = {len(self.nats) - 1} predicted tokens\n{mean}", fontsize=9)
        return inked(figure, theme)

    def _repr_html_(self) -> str:
        bits = self.bits
        levels = [round(page.LEVELS * min(1.0, b / SURPRISED)) if b == b else 0 for b in bits]
        titles = [f"{b:.2f} bits, probability {2**-b:.3g}" if b == b else "the first token" for b in bits]
        body = page.coloured(self.text.tokens, levels, titles, ORANGE)
        n = len(bits) - 1
        mean = f"{self.bits_per_character:.3f} bits per character, n = {n} predicted tokens; " if n else ""
        return page.framed("surprisal", body, mean + page.legend(("0 bits", f"{SURPRISED:.0f} or more"), ORANGE))


def surprisal(logits: Tensor, ids: Tensor, text: Text) -> Surprisal:
    """The surprisal of tokens (T,) under the logits (T, V) of the token after each."""
    nats = np.full(len(ids), math.nan)
    nats[1:] = next_nats(logits, ids)[:-1]
    return Surprisal(nats, text)


def next_nats(logits: Tensor, ids: Tensor) -> np.ndarray:
    """(T,): -log p of the token after each; NaN after the last."""
    log_p = logits[:-1].double().cpu() if logits.device.type == "mps" else logits[:-1].double()
    nats = -log_p.log_softmax(-1).gather(1, ids[1:, None].to(log_p.device))[:, 0]
    return np.append(nats.cpu().numpy(), math.nan)


@dataclass(frozen=True)
class TopTokens:
    """The likeliest next tokens after each token, the likeliest first."""

    ids: np.ndarray
    "(T, k)"
    probabilities: np.ndarray
    "(T, k)"
    text: Text

    def plot(self, theme: Theme = "light") -> Any:
        """The probabilities after the last token as bars; a matplotlib figure."""
        figure, axes = token_axis([self.text.label(int(i)) for i in self.ids[-1]], 2.6, theme)
        axes.bar(range(self.ids.shape[1]), self.probabilities[-1], color="tab:blue")
        axes.set_ylabel("probability")
        axes.set_xlabel("next token")
        last = drawable("".join(self.text.labels()[-SHOWN_BEFORE:]))
        axes.set_title(f"the {self.ids.shape[1]} likeliest after {last}", fontsize=9)
        return inked(figure, theme)

    def _repr_html_(self) -> str:
        rows, shades = [], []
        for label, ids, probabilities in zip(self.text.labels(), self.ids, self.probabilities, strict=True):
            pairs = [(self.text.label(int(i)), float(p)) for i, p in zip(ids, probabilities, strict=True)]
            rows.append([label, *(f"{word} {p:.1%}" for word, p in pairs)])
            shades.append(["", *(page.shade(round(page.LEVELS * p), BLUE) for _, p in pairs)])
        head = ["after", *(f"{i + 1}." for i in range(self.ids.shape[1]))]
        return page.framed("likeliest next tokens", page.table(head, rows, shades))


def top(logits: Tensor, text: Text, k: int) -> TopTokens:
    """The k likeliest tokens under logits (T, V).

    Raises:
        UsageError: k is out of range.
    """
    if not isinstance(k, int) or not 1 <= k <= logits.shape[-1]:
        raise UsageError(f"k {k!r}", "top", f"it must be from 1 to {logits.shape[-1]}, the size of the vocabulary")
    probabilities, ids = logits.float().softmax(-1).topk(k)
    return TopTokens(ids.cpu().numpy(), probabilities.cpu().numpy(), text)


@dataclass(frozen=True)
class LogitLens:
    """The prediction after the embedding and after each layer: S stages, of which the last is the model's own."""

    stages: tuple[str, ...]
    ids: np.ndarray
    "(S, T): the likeliest next token."
    probabilities: np.ndarray
    "(S, T): its probability."
    nats: np.ndarray
    "(S, T): -log p of the text's next token; NaN after the last."
    text: Text

    def plot(self, theme: Theme = "light") -> Any:
        """The surprisal of the next token by stage and token; a matplotlib figure."""
        bits = self.nats / math.log(2)
        small: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
        figure, axes = heat(bits, "surprisal (bits)", self.text.labels(), list(self.stages), theme)
        if self.ids.shape[1] <= 48:
            for (s, t), i in np.ndenumerate(self.ids):
                axes.text(
                    t, s, drawable(self.text.label(int(i))), color=ink_on(axes.images[0], float(bits[s, t])), **small
                )
        axes.set_title("logit lens: the likeliest next token\ncolour: the text's own next token", fontsize=9)
        axes.set_xlabel("after this token")
        return inked(figure, theme)

    def _repr_html_(self) -> str:
        rows = [[stage, *map(self.text.label, row.tolist())] for stage, row in zip(self.stages, self.ids, strict=True)]
        shades = [["", *(page.shade(round(page.LEVELS * p), BLUE) for p in row)] for row in self.probabilities.tolist()]
        note = "the likeliest next token after each layer; " + page.legend(("probability 0", "1"), BLUE)
        return page.framed("logit lens", page.table(["after", *self.text.labels()], rows, shades), note)


@torch.no_grad()
def lens(model: GPT, streams: Mapping[str, Tensor], ids: Tensor, text: Text) -> LogitLens:
    """The predictions from the residual stream (T, C) at each stage."""
    likeliest, probabilities, nats = [], [], []
    for stream in streams.values():
        logits = model.logits(model.norm(stream[None]))[0]
        p, i = logits.float().softmax(-1).max(-1)
        likeliest.append(i.cpu().numpy())
        probabilities.append(p.cpu().numpy())
        nats.append(next_nats(logits, ids))
    return LogitLens(tuple(streams), np.stack(likeliest), np.stack(probabilities), np.stack(nats), text)
