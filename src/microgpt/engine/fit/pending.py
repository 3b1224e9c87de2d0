"""Numbers on their way from the device to the host. Needs torch alone."""

import torch
from torch import Tensor


class Underway:
    """Numbers that a GPU is still to compute: reading them waits for them alone, not for the work queued after them.

    Args:
        numbers: tensors of one element each.
    """

    def __init__(self, *numbers: Tensor) -> None:
        self._numbers: tuple[Tensor, ...] | Tensor = numbers
        self._arrival: torch.cuda.Event | None = None
        if numbers[0].device.type == "cuda":
            on_device = torch.stack([number.double() for number in numbers])
            self._numbers = torch.empty_like(on_device, device="cpu", pin_memory=True)
            self._numbers.copy_(on_device, non_blocking=True)
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record()

    def read(self) -> list[float]:
        """The numbers, as soon as they are there."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return [float(number) for number in self._numbers]
