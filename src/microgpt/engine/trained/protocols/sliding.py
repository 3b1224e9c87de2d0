"""The protocol `sliding`: overlapping windows, which give every token long context."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from microgpt.data.scored_windows import Batch, scan
from microgpt.engine.trained.protocols.base import EvalProtocol


class Sliding(EvalProtocol, name="sliding"):
    """Starts a window every T/4 tokens and scores each token once, with at least 3T/4 tokens of context after the first
    window."""

    def windows(self, ids: Any, block_size: int, batch_size: int, device: torch.device) -> Iterator[Batch]:
        return scan(ids, block_size, stride(block_size), batch_size, device)

    def count_windows(self, n_tokens: int, block_size: int, batch_size: int) -> int:
        return math.ceil(n_tokens / stride(block_size))


def stride(block_size: int) -> int:
    """Tokens between the starts of consecutive windows."""
    return max(1, block_size // 4)
