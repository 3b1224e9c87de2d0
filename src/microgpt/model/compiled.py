"""The step that makes a token, compiled: one call into machine code where each layer takes two dozen."""

import functools
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from microgpt.errors import MachineError
from microgpt.model.cache import KVCache

if TYPE_CHECKING:
    from microgpt.model.gpt import GPT

NextLogits = Callable[["GPT", Tensor, KVCache | None], Tensor]
"""(model, tokens (B, T), what is known of those before) -> float32 logits (B, V) of the token that follows."""


def next_logits(model: "GPT", tokens: Tensor, cache: KVCache | None) -> Tensor:
    """See `NextLogits`."""
    return model.logits(model.trunk(tokens, cache)[:, -1]).float()


def can_compile(accelerator: str) -> bool:
    """Whether torch.compile has what it needs here: a C++ compiler for CPUs, Triton for GPUs."""
    if accelerator == "cpu":
        return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)
    return accelerator == "cuda" and find_spec("triton") is not None


def compiled_next_logits(device: torch.device) -> NextLogits:
    """`next_logits`, compiled at its first call for a model's shape and a batch size: up to half a minute on a CPU, a
    few seconds when torch's cache on disk has it. It is for one token a row, behind two or more in a cache that has
    room for more than block_size.

    Raises:
        MachineError: torch cannot compile here.
    """
    if not can_compile(device.type):
        fix = "install g++ or clang" if device.type == "cpu" else "leave compile out"
        raise MachineError("torch cannot compile here", f"generation on {device.type}", fix)
    return _compiled


def _compiled(model: "GPT", tokens: Tensor, cache: KVCache | None) -> Tensor:
    # The place in the text is a number that changes: said now, so that nothing is compiled for one place alone.
    with torch.compiler.config.patch(dynamic_sources="L['cache'].length"):  # type: ignore[attr-defined]
        return _compiler()(model, tokens, cache)


@functools.cache
def _compiler() -> NextLogits:
    return torch.compile(next_logits)
