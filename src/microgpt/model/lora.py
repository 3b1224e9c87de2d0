"""Low-rank adaptation (Hu et al., https://arxiv.org/abs/2106.09685): train a small update of each frozen matrix.

A matrix W becomes W + (alpha / rank) B A, with B (out, rank) starting at zero, so that the model is unchanged at first.
Weights keep their names; A and B are beside them as `lora_a` and `lora_b`.
"""

import copy
import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microgpt.config import Config, Natural, Positive
from microgpt.errors import UsageError
from microgpt.model.gpt import GPT
from microgpt.model.kernels.linear import Linear
from microgpt.text import did_you_mean


class LoRAConfig(Config):
    """Train only low-rank updates of the matrices inside the blocks."""

    rank: Natural = 0
    "Rank of the updates; 0 trains the weights themselves."
    alpha: Positive = 16.0
    "The updates are scaled by alpha / rank, so that one learning rate suits every rank."
    targets: tuple[str, ...] = ("attn.qkv", "attn.out")
    "Which matrices of each block: attn.qkv, attn.out, mlp.widen, mlp.out; patterns such as mlp.* are possible."


class LoRALinear(nn.Module):
    """A linear layer, (..., in) -> (..., out), with a frozen weight and a trained low-rank update."""

    def __init__(self, base: nn.Linear, config: LoRAConfig) -> None:
        super().__init__()
        self.weight, self.bias = base.weight, base.bias
        self.scale = config.alpha / config.rank
        self.lora_a = nn.Parameter(base.weight.new_empty(config.rank, base.in_features))
        self.lora_b = nn.Parameter(base.weight.new_zeros(base.out_features, config.rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)

    @torch.no_grad()
    def merged(self) -> Linear:
        """An equivalent plain layer."""
        linear = Linear(self.lora_a.shape[1], self.lora_b.shape[0], bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight + self.scale * (self.lora_b @ self.lora_a))
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.clone())
        return linear


def attach(model: GPT, config: LoRAConfig) -> GPT:
    """Add trainable low-rank updates to the model's target matrices and freeze the rest, in place.

    Draws A from torch's generator.

    Raises:
        UsageError: a target names no matrix.
    """
    names = {name.split(".", 2)[2]: None for name, m in _linears(model)}
    for pattern in config.targets:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"no matrix {pattern!r}", "lora.targets", did_you_mean(pattern, names))
    model.requires_grad_(False)
    for name, linear in _linears(model):
        if any(fnmatchcase(name.split(".", 2)[2], pattern) for pattern in config.targets):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, LoRALinear(linear, config))
    return model


def merge(model: GPT) -> GPT:
    """A copy of the model with the updates added to its weights; the model itself if it has none."""
    if not any(isinstance(module, LoRALinear) for module in model.modules()):
        return model
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, LoRALinear):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, module.merged())
    return model


def freeze(model: GPT, patterns: Iterable[str]) -> None:
    """Freeze the weights whose names match, in place.

    Raises:
        UsageError: a pattern matches no weight, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matching = [p for name, p in parameters.items() if fnmatchcase(name, pattern)]
        if not matching:
            fix = f"{did_you_mean(pattern, parameters)}; blocks.0.* stands for all of block 0"
            raise UsageError(f"no weight {pattern!r}", "trainer.freeze", fix)
        for p in matching:
            p.requires_grad_(False)
    if not any(p.requires_grad for p in parameters.values()):
        raise UsageError("every weight is frozen", "trainer.freeze", "leave some of them free")


def _linears(model: GPT) -> list[tuple[str, nn.Linear]]:
    """The matrices of the blocks by name: `blocks.0.attn.qkv`, ..."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith("blocks.")]
