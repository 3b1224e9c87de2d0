"""Compile or record the generation of one token, so that Python no longer calls every operation of every layer."""

import functools
import logging
import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from microgpt.errors import MachineError
from microgpt.model.generation.decoder import Decoder
from microgpt.model.generation.kv_cache import KVCache, StaticCache
from microgpt.model.kernels import compiling, hardware, torch_private

log = logging.getLogger("microgpt")

NextLogits = Callable[[Decoder, Tensor, KVCache | None], Tensor]
"""(model, tokens (B, T), cache of earlier tokens) -> float32 logits (B, V) of the next token."""


def next_logits(model: Decoder, tokens: Tensor, cache: KVCache | None) -> Tensor:
    """See `NextLogits`."""
    return model.logits(model.trunk(tokens, cache)[:, -1]).float()


def can_compile(accelerator: str) -> bool:
    """Whether this machine has what torch.compile needs: a C++ compiler for CPUs, Triton for GPUs."""
    if accelerator == "cpu":
        return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)
    return accelerator == "cuda" and find_spec("triton") is not None


def faster_step(device: torch.device, rows: int, is_int8: bool = False) -> NextLogits | None:
    """`compiled_next_logits`, or None, with a warning, for so many texts that a compiled step is slower.

    Raises:
        MachineError: torch cannot compile here.
    """
    if rows > hardware.of(device.type).compiled_rows(is_int8):
        what = f"{rows} texts at once" if rows > 1 else "int8 weights"
        log.warning("warning: %s are faster without compiling, which is left out", what)
        return None
    return compiled_next_logits(device, is_int8)


def compiled_next_logits(device: torch.device, is_int8: bool = False) -> NextLogits:
    """`next_logits`, compiled.

    It compiles at the first call for each model shape and batch size, which takes a while, less if torch's disk cache
    has the result. Use it for one text: one token per row, after two or more in a cache whose capacity exceeds
    block_size.

    Raises:
        MachineError: torch cannot compile here.
    """
    if not can_compile(device.type):
        fix = "install g++ or clang" if device.type == "cpu" else "leave compile out"
        raise MachineError("torch cannot compile here", f"generation on {device.type}", fix)
    return StaticStep(_compiler(dynamic=False), recorded) if device.type == "cuda" else DynamicStep(is_int8)


class DynamicStep:
    """A compiled step of one text.

    Its first call, the only one that may compile, declares that the position changes, so that torch does not first
    compile for a single position. Declaring it for each token would slow them all.
    """

    def __init__(self, is_int8: bool = False) -> None:
        self.is_int8 = is_int8
        self.step: NextLogits | None = None

    def __call__(self, model: Decoder, tokens: Tensor, cache: KVCache | None) -> Tensor:
        if self.step is not None:
            return self.step(model, tokens, cache)
        step = _compiler(vector_bits=hardware.of("cpu").vector_bits(self.is_int8))
        with torch_private.dynamic_sources("L['cache'].length"):
            logits = step(model, tokens, cache)
        self.step = step
        return logits


@functools.cache
def _compiler(dynamic: bool | None = None, vector_bits: int | None = None) -> NextLogits:
    options = {"options": {"cpp.simdlen": vector_bits}} if vector_bits else {}
    return compiling.compiled(next_logits, dynamic=dynamic, **options)


Record = Callable[[Callable[[], Tensor], torch.device], Callable[[], Tensor]]
"""(step, device) -> a function to call instead of the step."""


def recorded(step: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Record a step's GPU kernels once, to launch them all with one call
    (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs).

    Each call recomputes and returns the same tensor from the current contents of the memory that the step reads.
    """
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # one-time work, such as compiling, must not be recorded
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = step()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class StaticStep:
    """A `NextLogits` for one text with fixed shapes and addresses, so that it can be recorded once. Each call
    overwrites the previous logits."""

    def __init__(self, step: NextLogits, record: Record) -> None:
        self.step, self.record = step, record
        self.cache: StaticCache | None = None
        self.tokens: Tensor
        self.replay: Callable[[], Tensor]

    def __call__(self, model: Decoder, tokens: Tensor, cache: KVCache | None) -> Tensor:
        assert cache is not None
        bias = model.pos.bias(1, cache.length + 1)
        if self.cache is None:
            self.cache, self.tokens = StaticCache(cache, bias), tokens.clone()
            self.replay = self.record(partial(self.step, model, self.tokens, self.cache), tokens.device)
        self.tokens.copy_(tokens)
        self.cache.follow(cache, bias)
        logits = self.replay()
        cache.advance(1)
        if self.cache.recent is not None:
            cache.remember(self.cache.recent)
        return logits
