"""Training windows that lie within one document. Needs only torch and numpy."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microgpt.data.documents import EncodedDocuments
from microgpt.data.encoded_text import EncodedText
from microgpt.data.windows import Windows, part_bounds
from microgpt.errors import DataError


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
        self.starts, self.targets = text.starts, text.lengths - 1
        if longest - 1 > T:  # some documents have several windows
            counts = -(-self.targets // T)
            number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            n_targets = np.repeat(self.targets, counts)
            self.starts = np.repeat(self.starts, counts) + np.minimum(number * T, np.maximum(0, n_targets - T))
            self.targets = np.minimum(n_targets, T)
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
        rows = self._ids.index_select(0, places.flatten().to(self._ids.device)).view(places.shape)
        return rows, torch.arange(T) >= targets[:, None]


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
