"""Numbers being copied to the host without waiting for the device. Imports torch alone."""

from typing import Any

import torch
from torch import Tensor


class Pending:
    """A tensor that a GPU is still computing: reading waits for it, not for the work queued after it."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._arrival: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._tensor = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record()

    def read(self) -> list[Any]:
        """Wait for the tensor and return its numbers."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._tensor.tolist()
