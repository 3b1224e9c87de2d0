"""Training batches: windows of the text, gathered as whole tensors. Needs only torch and numpy.

The order is a pure function: sample `k = step * batch_size + j` of a run is the window `offset(seed, k)`. No sampler
has state, so resuming needs nothing saved, and any number of ranks and micro-batches draws the same samples.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from microgpt.data import rng
from microgpt.data.dataset import as_ids, check_length
from microgpt.data.permutation import permute
from microgpt.errors import UsageError
from microgpt.text import did_you_mean

_AHEAD = 4096  # samples drawn at once: a call costs more than its numbers
NOT_COUNTED = -100
"""The target of positions that the loss leaves out, as in `torch.nn.functional.cross_entropy`."""
_DEVICE_SHARE = 4  # a corpus moves to the device if it fits this many times in the free memory


class Windows:
    """The batches of a run.

    Args:
        ids: the training text's indices, 1-D; may be memory-mapped.
        block_size: T, the length of a window.
        batch_size: B, the sequences of one optimizer step over all ranks and micro-batches.
        seed: the run's.
        sampling: "random" draws windows with replacement, "shuffle" takes each window once an epoch, "repeat" takes
            random's first batch in every step.
        device: the batches' device; the corpus moves there too if it fits.
        stream: name of the random stream; each stream is an independent order.

    Raises:
        DataError: the text is shorter than a window and its target.
    """

    def __init__(  # noqa: PLR0913  # public keywords of `microgpt.data.Windows`, most with a default
        self,
        ids: Any,
        block_size: int,
        batch_size: int,
        seed: int,
        sampling: Literal["random", "shuffle", "repeat"] = "random",
        device: torch.device | str | None = None,
        stream: str = "data",
    ) -> None:
        ids = as_ids(ids)
        check_length(len(ids), block_size, "training text")
        if batch_size < 1:
            raise UsageError(f"batch_size {batch_size}", "batch_size", "it must be at least 1")
        draws = {"random": self._random, "shuffle": self._shuffled, "repeat": self._repeated}
        if sampling not in draws:
            raise UsageError(f"no such choice {sampling!r}", "sampling", did_you_mean(sampling, draws))
        self._draw = draws[sampling]
        self.block_size, self.batch_size, self.seed, self.stream = block_size, batch_size, seed, stream
        # A tensor's device has its full name: "cuda:0" for "cuda".
        self.device = torch.empty(0, device=ids.device if device is None else device).device
        if _fits(ids, self.device):
            ids = ids.to(self.device)
        self._ids = ids
        self._windows = ids.unfold(0, block_size + 1, 1)  # (N, T + 1), a view
        self._drawn, self._drawn_from = torch.empty(0, dtype=torch.int64), 0

    def __len__(self) -> int:
        """The number of windows: one epoch."""
        return len(self._windows)

    def offsets(self, step: int) -> np.ndarray:
        """The starts of a step's windows: int64 (B,), a function only of seed, stream and step."""
        return self._draw(step * self.batch_size, self.batch_size)

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, n_micro: int = 1
    ) -> tuple[Tensor, Tensor]:
        """One rank's share of a step's batch in one micro-batch.

        Returns:
            x and y, int64 (b, T) on `device`; without padding, views of one tensor (b, T + 1). Over all ranks and
            micro-batches these make up the B samples of `offsets(step)`, in order; their sizes differ by one at most.
        """
        low, high = part_bounds(self.batch_size, rank, world_size, micro, n_micro)
        if low == high:
            parts = f"{world_size} devices x {n_micro} micro-batches"
            raise UsageError(f"batch_size {self.batch_size} for {parts}", "data.batch_size", "raise it")
        start = step * self.batch_size
        rows, padding = self._rows(start + low, start + high)  # (b, T + 1)
        if rows.device != self.device:  # gather in the small type, copy while the device computes
            if self.device.type == "cuda":
                rows = rows.pin_memory()
            rows = rows.to(self.device, non_blocking=True)
        rows = rows.to(torch.int64)
        x, y = rows[:, :-1], rows[:, 1:]
        return x, y if padding is None else y.masked_fill(padding.to(y.device), NOT_COUNTED)

    def weight(self, step: int, rank: int, world_size: int, micro: int, n_micro: int) -> float | None:
        """The factor of a part's mean loss, so that the mean over a step's parts is the mean over its targets; None if
        every part has as many."""
        return None

    def _rows(self, low: int, high: int) -> tuple[Tensor, Tensor | None]:
        """Samples `low .. high - 1`, (b, T + 1), and which of their targets are padding, bool (b, T); None: none."""
        return self._windows.index_select(0, self._index(low, high)), None

    def _index(self, low: int, high: int) -> Tensor:
        """The starts of the windows of samples `low .. high - 1`: int64, on the text's device. Draws ahead and keeps
        the rest, without changing any result."""
        if low < self._drawn_from or high > self._drawn_from + len(self._drawn):
            drawn = self._draw(low, max(high - low, _AHEAD))
            self._drawn, self._drawn_from = torch.from_numpy(drawn).to(self._windows.device), low
        return self._drawn[low - self._drawn_from : high - self._drawn_from]

    def _random(self, start: int, count: int) -> np.ndarray:
        return rng.integers(self.seed, self.stream, start, count, below=len(self))

    def _repeated(self, start: int, count: int) -> np.ndarray:
        return self._random(0, self.batch_size)[np.arange(start, start + count) % self.batch_size]

    def _shuffled(self, start: int, count: int) -> np.ndarray:
        samples = np.arange(start, start + count)
        epochs, places = samples // len(self), samples % len(self)
        order: np.ndarray = np.concatenate(
            [
                permute(places[epochs == epoch], len(self), rng.key(self.seed, self.stream, epoch))
                for epoch in np.unique(epochs).tolist()
            ]
        )
        return order


def part_bounds(batch_size: int, rank: int, world_size: int, micro: int, n_micro: int) -> tuple[int, int]:
    """The first sample of one rank's share of a batch in one micro-batch, and the one after its last."""
    low, high = _part(0, batch_size, rank, world_size)
    return _part(low, high, micro, n_micro)


def _part(low: int, high: int, number: int, parts: int) -> tuple[int, int]:
    """Bounds of part `number` when `low .. high` is split into `parts` of nearly equal size."""
    if not 0 <= number < parts:
        raise UsageError(f"part {number} of {parts}", "Windows.batch")
    size = high - low
    return low + size * number // parts, low + size * (number + 1) // parts


def _fits(ids: Tensor, device: torch.device) -> bool:
    if ids.device == device:
        return True
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return ids.numel() * ids.element_size() * _DEVICE_SHARE <= free
