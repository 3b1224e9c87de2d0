"""One head's attention over a text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from microgpt.inspect import attention_page, page
from microgpt.inspect.figures import Theme, heat, inked
from microgpt.inspect.text import Text

GREEN = "20,150,90"
MOST = 256
"""The most tokens that the notebook's view shows, the last ones: its size grows with their square."""


@dataclass(frozen=True)
class AttentionMap:
    """How much each token (row) attends to each earlier one (column)."""

    layer: int
    head: int
    weights: np.ndarray
    "(T, T): rows sum to 1."
    text: Text

    @property
    def largest(self) -> float:
        """The largest weight, without the first quarter of the rows, which have few tokens to share it."""
        return float(self.weights[len(self.weights) // 4 :].max())

    def plot(self, theme: Theme = "light") -> Any:
        """The map; a matplotlib figure."""
        labels = self.text.labels()
        future = np.triu(np.ones(self.weights.shape, bool), 1)
        seen = np.where(future, np.nan, self.weights)
        figure, axes = heat(seen, "attention", labels, labels, theme, self.largest)
        axes.set_title(f"layer {self.layer}, head {self.head}, {len(labels)} tokens", fontsize=9)
        axes.set_ylabel("this token ...")
        axes.set_xlabel("... looks at this one")
        return inked(figure, theme)

    def _title(self) -> str:
        return f"attention of layer {self.layer}, head {self.head}"

    def _repr_html_(self) -> str:
        T = len(self.text.tokens)
        first = max(0, T - MOST)
        body = attention_page.view(self.text.tokens[first:], self.weights[first:, first:], self.largest, GREEN, first)
        part = f"the last {MOST} of {T} tokens; plot() draws all. " if first else ""
        how = "Point at a token, or choose one by a click and the arrow keys, to see where it looks. "
        note = part + how + page.legend(("Attention 0", f"{self.largest:.2f}, the head's largest"), GREEN, 1.0)
        return page.framed(self._title(), body, note)
