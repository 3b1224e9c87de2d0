"""Compute a training step's memory by running the step on tensors that have sizes but no storage.

The count covers each tensor of the model, autograd, the optimizer and an evaluation while it lives, so the peak is
exact. It leaves out kernels' workspace and the allocator's overhead.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from microgpt.engine.config import RunConfig
from microgpt.engine.fit.finetune import starting_model
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.weight_average import WeightAverage
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.trial import Trial
from microgpt.engine.trained.evaluate import token_losses
from microgpt.model.kernels import torch_private
from microgpt.model.kernels.cross_entropy import most_logits


@dataclass(frozen=True)
class Footprint:
    """Bytes of tensors on one device."""

    weights: int
    optimizer: int
    "The optimizer's state, and the weight average if the run keeps one."
    gradients: int
    training: int
    "Peak in a step; the part beyond the fields above is activations."
    peak: int
    "Peak in a step or an evaluation."

    def sharded(self, world_size: int) -> "Footprint":
        """Approximate one device's bytes with weights, gradients and optimizer state sharded over `world_size`."""
        weights, optimizer = self.weights // world_size, self.optimizer // world_size
        gradients = self.gradients // world_size
        saved = self.weights + self.optimizer + self.gradients - weights - optimizer - gradients
        return Footprint(weights, optimizer, gradients, self.training - saved, self.peak - saved)


class LiveBytes(torch_private.dispatch_mode()):  # type: ignore[misc]
    """Count the bytes of live tensors created inside this mode, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in torch_private.tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        number, n_bytes = storage._cdata, storage.nbytes()
        if number in self._known:  # a view, or an in-place change
            return

        def gone(_: Any) -> None:
            self.now -= n_bytes
            del self._known[number]

        self._known[number] = weakref.ref(storage, gone)
        self.now += n_bytes
        self.peak = max(self.peak, self.now)


def footprint(trial: Trial) -> Footprint | None:
    """Compute the memory of training and evaluating on one device.

    Returns:
        The footprint; None if a part of the model reads a tensor's value, since these tensors have none.
    """
    default = torch.get_default_dtype()
    if trial.precision.endswith("true"):
        torch.set_default_dtype(machine.autocast_dtype(trial.precision))
    with torch_private.sizes_only(), torch.device(trial.accelerator), LiveBytes() as live:
        try:
            return _simulate(live, trial)
        except torch_private.value_is_missing():
            return None
        finally:
            torch.set_default_dtype(default)


def _simulate(live: LiveBytes, trial: Trial) -> Footprint:
    config, precision = trial.config, trial.precision
    model = starting_model(config, trial.vocab_size, None)
    autocast = torch.autocast(trial.accelerator, machine.autocast_dtype(precision), enabled=precision.endswith("mixed"))
    weights = live.now
    module = GPTModule(model, config, 1, compiled=False)
    module.most_logits = most_logits(torch.device(trial.accelerator))
    optimizer = module.configure_optimizers()
    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.zeros_like(p)
    gradients = live.now - weights
    optimizer.step()  # allocates its state
    optimizer.zero_grad()
    average = WeightAverage(model, config.trainer.ema_decay)
    average.start(torch.device(trial.accelerator))
    state = live.now - weights
    live.peak = live.now
    for _ in range(min(2, trial.sequences // trial.micro)):
        with autocast:
            loss = module(*_tokens(trial.micro, config))
        loss.backward()
        del loss
    torch.nn.utils.clip_grad_norm_(trained, 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad()
    training = live.peak
    if trial.scored:
        current = [p.detach().clone() for p in model.parameters()] if average.tensors else []
        model.eval()
        with torch.no_grad(), autocast:
            token_losses(model, *_tokens(trial.scored, config))
        del current
    return Footprint(weights, state, gradients, training, live.peak)


def _tokens(sequences: int, config: RunConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Make x and y, each (sequences, T) int64."""
    x, y = (torch.zeros(sequences, config.model.block_size, dtype=torch.int64) for _ in range(2))
    return x, y
