"""Fully sharded data parallelism (FSDP2, https://arxiv.org/abs/2304.11277): each rank holds a shard of every weight,
its gradient and its optimizer state, and gathers a block's weights only while computing with them.

Checkpoints hold whole tensors, as without sharding: a run can resume with any strategy and number of devices.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from lightning.pytorch.strategies.strategy import Strategy
from torch import Tensor
from torch.optim import Optimizer

from microgpt.engine.fit.lightning_private import StartedRanksStrategy
from microgpt.model import GPT

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


class ShardedStrategy(StartedRanksStrategy):
    """Lightning's FSDP2 strategy, which saves whole tensors in our checkpoint folders."""

    def __init__(self, world_size: int) -> None:
        super().__init__(data_parallel_size=world_size, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return Strategy.lightning_module_state_dict(self)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        return Strategy.optimizer_state(self, optimizer)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None) -> None:
        """Gather on every rank, write on the first. All ranks must call it."""
        Strategy.save_checkpoint(self, whole(checkpoint), filepath, storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return Strategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        there = self.lightning_module.state_dict()
        parts = {name: part_of(tensor, there.get(name)) for name, tensor in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(parts, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            together = getattr(optimizer, "optimizers", None)  # several that save as one, each with its own numbering
            if together is None:
                optimizer.load_state_dict(_optimizer_part(optimizer, state))
            else:
                parts = zip(together, state["parts"], strict=True)
                optimizer.load_state_dict({"parts": [_optimizer_part(one, its) for one, its in parts]})


def shard(model: GPT, mesh: Any) -> None:
    """Shard a model that is identical on every rank: block by block, then the rest."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "loss")


def is_sharded(value: Any) -> "TypeGuard[DTensor]":
    """Whether this is a tensor of which each rank holds a part. torch's module of them takes half a second to import,
    and there are none without it."""
    sharded = sys.modules.get("torch.distributed.tensor")
    return sharded is not None and isinstance(value, sharded.DTensor)


def is_shared(model: torch.nn.Module) -> bool:
    """Whether the weights are sharded across ranks."""
    return any(is_sharded(weight) for weight in model.parameters())


def whole(tree: Any) -> Any:
    """Gather every sharded tensor in a nested state. All ranks must call it together."""
    if is_sharded(tree):
        return tree.full_tensor()
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(whole(value) for value in tree)
    return tree


def part_of(value: Any, like: Any) -> Any:
    """This rank's shard of a whole tensor, laid out like `like`; other values unchanged. All ranks must call it."""
    if not is_sharded(like) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def unshared(model: GPT, weights: Mapping[str, Tensor]) -> GPT:
    """Gather these weights into a separate model for one rank to use alone. All ranks must call it together."""
    gathered = whole(weights)
    example = next(iter(gathered.values()))
    with torch.random.fork_rng(devices=[]):  # the initial weights are discarded: training's generator must not advance
        own = GPT(model.config, model.vocab_size).to(example.device, example.dtype)
    own.load_state_dict(gathered, strict=False)
    return own.train(model.training)


def _optimizer_part(optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Any]:
    """This rank's shard of a whole optimizer state."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    of = dict(zip(numbers, weights, strict=True))
    shared = {
        number: {name: part_of(value, of[number]) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": shared}
