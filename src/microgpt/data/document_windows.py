"""Training windows that lie within one document. Needs only torch and numpy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microgpt.data.documents import EncodedDocuments
from microgpt.data.encoded_text import EncodedText
from microgpt.data.windows import Windows, part_bounds
from microgpt.errors import DataError

_AT_ONCE = 1 << 16


class DocumentWindows(Windows):
    """Batches whose rows lie within one document each, from its start token or from later on in a long document.

    No row shows a token the text of another document, neither to its attention nor to its loss: what follows the
    document's end is padding, and its targets are -100. The rows are as long as the longest document needs, and
    `block_size` at most. A document of n tokens has ceil((n - 1) / block_size) windows; the last one ends with it.

    Args:
        text: the training split.
        knobs: as in `Windows`: batch_size, seed, sampling, device, stream.
    """

    def __init__(self, text: EncodedDocuments, block_size: int, **knobs: Any) -> None:
        if not len(text.starts):
            raise DataError("no document", "the training text", "take more documents, or lower data.val_fraction")
        longest = int(text.lengths.max())
        T = min(block_size, longest - 1)
        n_windows = sum(int((-(-(part - 1) // T)).sum()) for part in _parts(text.lengths))
        self.starts, self.targets = np.empty(n_windows, np.int64), np.empty(n_windows, np.int32)
        high = 0
        for begins, lengths in zip(_parts(text.starts), _parts(text.lengths), strict=True):
            starts, targets = _cut(begins, lengths - 1, T)
            low, high = high, high + len(starts)
            self.starts[low:high], self.targets[low:high] = starts, targets
        super().__init__(text.ids, T, **knobs)

    def __len__(self) -> int:
        """The number of windows: one epoch."""
        return len(self.starts)

    def weight(self, step: int, rank: int, world_size: int, micro: int, n_micro: int) -> float | None:
        """The share of a part's mean loss in the step's, times the number of parts: the mean over the parts is then the
        mean over all targets, however many each part has."""
        counts = self.targets[self.offsets(step)]
        low, high = part_bounds(self.batch_size, rank, world_size, micro, n_micro)
        return float(counts[low:high].sum()) * world_size * n_micro / float(counts.sum())

    def _rows(self, low: int, high: int) -> tuple[Tensor, Tensor]:
        T = self.block_size
        drawn = self._index(low, high).cpu().numpy()
        starts, targets = torch.from_numpy(self.starts[drawn]), torch.from_numpy(self.targets[drawn])
        places = starts[:, None] + torch.arange(T + 1).clamp(max=targets[:, None])  # (b, T + 1), repeats its last token
        rows = self._ids[places.to(self._ids.device)]  # index_select takes no uint16, which large vocabularies have
        return rows, torch.arange(T) >= targets[:, None]


def _parts(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array in slices, so that millions of documents need no temporary array of all."""
    return (array[low : low + _AT_ONCE] for low in range(0, len(array), _AT_ONCE))


def _cut(begins: np.ndarray, n_targets: np.ndarray, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of T targets that cover documents: the start of each, and its number of targets."""
    counts = -(-n_targets // T)
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    n_targets = np.repeat(n_targets, counts)
    return np.repeat(begins, counts) + np.minimum(number * T, np.maximum(0, n_targets - T)), np.minimum(n_targets, T)


def training_windows(text: EncodedText, within: bool, block_size: int, **knobs: Any) -> Windows:
    """A run's batches.

    Args:
        text: the training split.
        within: whether windows of documents stay within one; without documents it changes nothing.
        knobs: as in `Windows`: batch_size, seed, sampling, device, stream.

    Raises:
        DataError: the text is shorter than a window and its target.
    """
    if within and isinstance(text, EncodedDocuments):
        return DocumentWindows(text, block_size, **knobs)
    return Windows(text.ids, block_size, **knobs)
