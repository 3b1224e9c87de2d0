"""Windows that score every token of a text once. Needs only torch.

A window starts every `stride` tokens and scores the tokens that no earlier window scored; its first
`block_size - stride` positions only provide context. The first token has no context and is not scored; the last window
ends with the text.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from microgpt.data.dataset import as_ids, check_length

Batch = tuple[Tensor, Tensor, Tensor]
"""x and y, int64 (b, T), and whether each position of y is scored, bool (b, T)."""


def scan(
    ids: Any, block_size: int, stride: int, batch_size: int = 64, device: torch.device | str | None = None
) -> Iterator[Batch]:
    """Yield windows that score each token but the first exactly once.

    Yields:
        x, y: int64 (b, T); T is block_size, or less for a shorter text.
        scored: bool (b, T); whether each position of y counts.

    Raises:
        DataError: the text has fewer than two tokens.
    """
    ids = as_ids(ids)
    check_length(len(ids), 1, "evaluated text")
    T = min(block_size, len(ids) - 1)
    starts, first = window_starts(len(ids), T, min(stride, T))
    windows = ids.unfold(0, T + 1, 1)  # (N, T + 1), a view
    positions = torch.arange(T)
    for low in range(0, len(starts), batch_size):
        rows = windows.index_select(0, starts[low : low + batch_size].to(ids.device)).to(torch.int64)
        scored = positions >= first[low : low + batch_size, None]  # (b, T)
        target = device if device is not None else ids.device
        rows, scored = rows.to(target), scored.to(target)
        yield rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), scored


def window_starts(n_tokens: int, block_size: int, stride: int) -> tuple[Tensor, Tensor]:
    """Each window's start and the first position that it scores: int64 (m,) each."""
    last = n_tokens - 1 - block_size
    starts = torch.arange(0, last + stride, stride).clamp(max=last) if last > 0 else torch.zeros(1, dtype=torch.int64)
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), starts[:-1] + block_size])
    return starts, ends - starts
