"""The protocol `random`: nanoGPT's estimate_loss, https://github.com/karpathy/nanoGPT."""

from collections.abc import Iterator
from typing import Any

import torch

from microgpt.data.document_windows import DocumentWindows
from microgpt.data.documents import EncodedDocuments
from microgpt.data.scored_windows import Batch
from microgpt.data.windows import NOT_COUNTED, Windows
from microgpt.engine.trained.protocols.base import EvalProtocol

BATCHES = 200
SEED = 0  # fixed by the protocol, not the run: every run is scored on the same windows


class Random(EvalProtocol, name="random"):
    """Averages over 200 batches of random windows: an estimate, identical each time."""

    def windows(self, ids: Any, block_size: int, batch_size: int, device: torch.device) -> Iterator[Batch]:
        windows = Windows(ids, block_size, batch_size, SEED, device=device, stream="eval")
        for step in range(BATCHES):
            x, y = windows.batch(step)
            yield x, y, torch.ones_like(y, dtype=torch.bool)

    def document_windows(
        self, text: EncodedDocuments, block_size: int, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        knobs = {"batch_size": batch_size, "seed": SEED, "device": device, "stream": "eval"}
        windows = DocumentWindows(text, block_size, **knobs)
        for step in range(BATCHES):
            x, y = windows.batch(step)
            yield x, y.clamp(min=0), y != NOT_COUNTED

    def count_windows(self, n_tokens: int, block_size: int, batch_size: int) -> int:
        return BATCHES * batch_size
