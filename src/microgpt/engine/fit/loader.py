"""Training batches: the windows of an optimizer step are a pure function of (seed, step).

A loader starts at any step, so it has no state to save or restore.
"""

from collections.abc import Iterator
from typing import NamedTuple

import lightning as L
from torch import Tensor

from microgpt.data.windows import Windows


class Batch(NamedTuple):
    """One process's share of a step's global batch for one forward pass."""

    x: Tensor  # (b, T) int64
    y: Tensor  # (b, T) int64, x shifted by one
    step: int
    micro: int
    weight: float | None = None  # of the mean loss: see `Windows.weight`


class StepLoader:
    """Yield the micro-batches of every step from `start_step` on; the length counts micro-batches."""

    def __init__(self, windows: Windows, steps: int, n_micro: int, rank: int, world_size: int, start_step: int) -> None:
        self.windows, self.steps, self.n_micro = windows, steps, n_micro
        self.rank, self.world_size, self.start_step = rank, world_size, start_step

    def __len__(self) -> int:
        return max(0, self.steps - self.start_step) * self.n_micro

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start_step, self.steps):
            for micro in range(self.n_micro):
                part = (step, self.rank, self.world_size, micro, self.n_micro)
                yield Batch(*self.windows.batch(*part), step, micro, self.windows.weight(*part))

    def state_dict(self) -> dict[str, object]:
        """Return no state; Lightning warns when a loader lacks this method."""
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore nothing."""


class TextDataModule(L.LightningDataModule):
    """Give Lightning a `StepLoader` that starts at the trainer's step."""

    def __init__(self, windows: Windows, steps: int, n_micro: int) -> None:
        super().__init__()
        self.windows, self.steps, self.n_micro = windows, steps, n_micro

    def train_dataloader(self) -> StepLoader:
        trainer = self.trainer
        assert trainer is not None
        return StepLoader(
            self.windows, self.steps, self.n_micro, trainer.global_rank, trainer.world_size, trainer.global_step
        )
