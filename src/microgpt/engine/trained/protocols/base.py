"""The base class of evaluation protocols."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from microgpt.data.documents import EncodedDocuments
from microgpt.data.scored_windows import Batch
from microgpt.registry import Part


class EvalProtocol(Part, ABC, family="protocol"):
    """The windows that an evaluation scores. A subclass with `name=` becomes a choice of `eval.protocol=` and
    `--protocol`.

        class Half(EvalProtocol, name="half"):
            def windows(self, ids, block_size, batch_size, device):
                return scan(ids, block_size, block_size // 2, batch_size, device)  # of data.scored_windows
    """

    @abstractmethod
    def windows(self, ids: Any, block_size: int, batch_size: int, device: torch.device) -> Iterator[Batch]:
        """Yield x and y, int64 (b, T), and scored, bool (b, T): the positions of y that count. b <= batch_size and
        T <= block_size. Every call yields the same windows.

        Args:
            ids: indices of the text, 1-D.

        Raises:
            DataError: the text is too short.
        """

    def document_windows(
        self, text: EncodedDocuments, block_size: int, batch_size: int, device: torch.device
    ) -> Iterator[Batch]:
        """Yield the windows of every document by itself, as `windows` does of a text; short ones are padded."""
        cpu = torch.device("cpu")
        windows = (
            rows
            for low, length in zip(text.starts.tolist(), text.lengths.tolist(), strict=True)
            for batch in self.windows(text.ids[low : low + length], block_size, batch_size, cpu)
            for rows in zip(*batch, strict=True)
        )
        while some := list(itertools.islice(windows, batch_size)):
            x, y, scored = (pad_sequence(list(rows), batch_first=True) for rows in zip(*some, strict=True))
            yield x.to(device), y.to(device), scored.to(device)

    def count_windows(self, n_tokens: int, block_size: int, batch_size: int) -> int:
        """The approximate number of windows in a text of `n_tokens`, from which `plan=true` estimates the time."""
        return math.ceil(n_tokens / block_size)
