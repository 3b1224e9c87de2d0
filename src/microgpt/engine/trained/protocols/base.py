"""The base class of evaluation protocols."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch

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

    def count_windows(self, n_tokens: int, block_size: int, batch_size: int) -> int:
        """The approximate number of windows in a text of `n_tokens`, from which `plan=true` estimates the time."""
        return math.ceil(n_tokens / block_size)
