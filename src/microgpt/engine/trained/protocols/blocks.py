"""The protocol `blocks`: adjacent windows."""

from collections.abc import Iterator
from typing import Any

import torch

from microgpt.data.scored_windows import Batch, scan
from microgpt.engine.trained.protocols.base import EvalProtocol


class Blocks(EvalProtocol, name="blocks"):
    """Scores each token once, with 0 to T - 1 tokens of context. The last window reaches back to cover the remainder
    of the text."""

    def windows(self, ids: Any, block_size: int, batch_size: int, device: torch.device) -> Iterator[Batch]:
        return scan(ids, block_size, block_size, batch_size, device)
