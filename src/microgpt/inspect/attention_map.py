"""One head's attention over a text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from microgpt.inspect import page
from microgpt.inspect.figures import heat
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

    def plot(self) -> Any:
        """The map; a matplotlib figure."""
        labels = self.text.labels()
        figure, axes = heat(self.weights, "attention", labels, labels, most=1.0)
        axes.set_title(f"layer {self.layer}, head {self.head}", fontsize=10)
        axes.set_xlabel("to")
        axes.set_ylabel("from")
        return figure

    def _repr_html_(self) -> str:
        tokens, weights = self.text.tokens[-MOST:], self.weights[-MOST:, -MOST:]
        levels = np.ceil(page.LEVELS * np.clip(weights - 0.01, 0, 1)).astype(int)
        note = "click a token to see where it looks; " + page.legend(("attention 0", "1"), GREEN)
        title = f"attention of layer {self.layer}, head {self.head}"
        return page.framed(title, page.choosable(tokens, levels, GREEN), note)
