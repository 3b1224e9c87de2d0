"""Scalars being copied to the host without waiting for the device. Imports only torch."""

import torch
from torch import Tensor


class PendingScalars:
    """Scalars that a GPU is still computing: reading waits for them, not for the work queued after them.

    Args:
        scalars: tensors of one element each.
    """

    def __init__(self, *scalars: Tensor) -> None:
        self._scalars: tuple[Tensor, ...] | Tensor = scalars
        self._arrival: torch.cuda.Event | None = None
        if scalars[0].device.type == "cuda":
            on_device = torch.stack([scalar.double() for scalar in scalars])
            self._scalars = torch.empty_like(on_device, device="cpu", pin_memory=True)
            self._scalars.copy_(on_device, non_blocking=True)
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record()

    def read(self) -> list[float]:
        """Wait for the scalars and return them."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return [float(scalar) for scalar in self._scalars]
