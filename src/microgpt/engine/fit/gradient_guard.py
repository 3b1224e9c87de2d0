"""Check that every step's loss and gradient are finite. Imports only torch."""

import math
from typing import Literal

import torch
from torch import Tensor

from microgpt.engine.machine.pending import Pending
from microgpt.errors import NonFiniteError

MOST_OVERFLOWS = 30
"""Consecutive overflows of the scaled gradient that no loss scale cures: it starts at 2^16 and halves each time."""

REMEDY = (
    "step {} was the last good one and nothing after it is saved: "
    "lower optim.lr, raise optim.warmup_steps, or take trainer.on_nonfinite=skip"
)
BEFORE_ANY_UPDATE = (
    "no update came before it, so the cause is not optim.lr but the model: "
    "look at parts of your own and at the weights it starts from, or take trainer.precision=32-true"
)


class GradientGuard:
    """Stop the run, or skip the update, when the loss or the gradient is not finite.

    Args:
        on_nonfinite: `trainer.on_nonfinite`.

    Attributes:
        skipped_steps: updates skipped so far.
        gradient_tells: whether a bad loss must show in the gradient too, because several ranks or a loss scaler check
            only the gradient.
    """

    def __init__(self, on_nonfinite: Literal["stop", "skip"]) -> None:
        self.on_nonfinite = on_nonfinite
        self.skipped_steps = 0
        self.gradient_tells = False
        self._has_scaler = self._looks_late = False
        self._n_micro = 1
        self._overflows = 0
        self._unchecked: tuple[int, Pending] | None = None

    def start(self, *, has_scaler: bool, world_size: int, looks_late: bool, n_micro: int) -> None:
        """Set how the run trains.

        Args:
            has_scaler: whether a loss scaler skips steps whose gradient overflows.
            looks_late: whether to check a step during the next one, so that no step waits for its own gradient.
            n_micro: forward passes per step.
        """
        self._has_scaler, self._looks_late, self._n_micro = has_scaler, looks_late, n_micro
        self.gradient_tells = has_scaler or world_size > 1

    def add(self, step: int, grad_norm: Tensor, loss_sum: Tensor) -> bool:
        """Check the step before, then take this step's scalars; return for this step what `check` returns."""
        dtype = torch.promote_types(grad_norm.dtype, loss_sum.dtype)
        self._unchecked = step, Pending(torch.stack((grad_norm.to(dtype), loss_sum.to(dtype))))
        return False if self._looks_late else self.check()

    def check(self) -> bool:
        """Check the latest step, unless it has been checked.

        Returns:
            Whether to drop the gradients, so that the update changes nothing.

        Raises:
            NonFiniteError: the loss or the gradient is not finite and the run must stop.
        """
        if self._unchecked is None:
            return False
        (step, numbers), self._unchecked = self._unchecked, None
        norm, loss_sum = numbers.read()
        if math.isfinite(norm) and (self.gradient_tells or math.isfinite(loss_sum)):
            self._overflows = 0
            return False
        return self._handle(step, loss_sum / self._n_micro)

    def _handle(self, step: int, loss: float) -> bool:
        self._overflows += 1
        if self._has_scaler and math.isfinite(loss) and self._overflows <= MOST_OVERFLOWS:
            return False  # the scaler skips the step and halves its scale
        if self.on_nonfinite == "stop":
            what = "gradient" if math.isfinite(loss) else "loss"
            where = f"the {what} is not finite at step {step + 1} (loss {loss:g})"
            raise NonFiniteError(where, "", REMEDY.format(step) if step else BEFORE_ANY_UPDATE)
        self.skipped_steps += 1
        return not self._has_scaler
