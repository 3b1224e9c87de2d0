"""Exponential moving average of the weights (Polyak averaging, https://arxiv.org/abs/1806.05594)."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from microgpt.engine.fit.sharded import is_shared, part_of, unshared
from microgpt.model import GPT
from microgpt.model.kernels.torch_private import foreach


class WeightAverage:
    """A model's averaged weights, in the order of its parameters; none when `decay` is 0.

    They are kept in float32 at least: with weights in bfloat16 each update is smaller than the average's last bit.

    Args:
        decay: `trainer.ema_decay`.
    """

    def __init__(self, model: GPT, decay: float) -> None:
        self.model, self.decay = model, decay
        self.tensors: list[Tensor] = []

    def start(self, device: torch.device) -> None:
        """Start from the current weights, or from loaded averages."""
        if self.decay:
            first = self.tensors or [p.detach().clone() for p in self.model.parameters()]
            self.tensors = [tensor.to(device, average_dtype(tensor.dtype)) for tensor in first]

    def load(self, saved: Sequence[Tensor]) -> None:
        """Load a checkpoint's whole tensors; with sharded weights, this rank's shard of each. `start` widens those of
        earlier versions, which kept them in the weights' dtype."""
        self.tensors = [part_of(*pair) for pair in zip(saved, self.model.parameters(), strict=False)]

    def fault(self, saved: Any) -> str:
        """Describe a fault in a saved, untrusted average; empty if there is none."""
        shapes = [p.shape for p in self.model.parameters()] if self.decay else []
        fits = isinstance(saved, list) and [getattr(tensor, "shape", None) for tensor in saved] == shapes
        return "" if fits else "an average of other weights"

    def update(self, step: int) -> None:
        """Move the averaged weights towards the weights after `step` updates."""
        if self.decay:
            # The average follows fast at first, because it starts from the random initialisation.
            weight = 1 - min(self.decay, (1 + step) / (10 + step))
            current = [p.detach() for p in self.model.parameters()]
            if all(tensor.dtype == p.dtype for tensor, p in zip(self.tensors, current, strict=True)):
                foreach("lerp_")(self.tensors, current, weight)
                return
            for tensor, p in zip(self.tensors, current, strict=True):  # one by one: each needs a wider copy
                tensor.lerp_(p.to(tensor.dtype), weight)

    @contextlib.contextmanager
    def applied(self) -> Iterator[GPT]:
        """The model with the averaged weights, if any, gathered if sharded. All ranks must enter together."""
        if is_shared(self.model):
            weights = dict(self.model.named_parameters())
            averages = [tensor.to(p.dtype) for tensor, p in zip(self.tensors, weights.values(), strict=False)]
            yield unshared(self.model, dict(zip(weights, averages, strict=True)) if averages else weights)
            return
        if not self.tensors:
            yield self.model
            return
        parameters = [p.data for p in self.model.parameters()]
        current = [p.clone() for p in parameters]
        foreach("copy_")(parameters, self.tensors)
        try:
            yield self.model
        finally:
            foreach("copy_")(parameters, current)


def average_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype that averages weights of this dtype without losing updates."""
    return torch.promote_types(dtype, torch.float32)
