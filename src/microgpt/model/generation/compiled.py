"""Compile or record the generation of one token, so that Python no longer calls every operation of every layer."""

import functools
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from microgpt.errors import MachineError
from microgpt.model.generation.decoder import Decoder
from microgpt.model.generation.kv_cache import KVCache, StaticCache
from microgpt.model.generation.sampling import SamplingParams, drawn, uniforms
from microgpt.model.kernels import compiling, hardware, torch_private

log = logging.getLogger("microgpt")

_WIDE = 2**30
"""Bytes of keys and values from which on reading those that are not there yet costs more than recording anew."""

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


def faster_step(device: torch.device, rows: int, is_int8: bool = False) -> "Step | None":
    """`compiled_next_logits`, or None, with a warning, for so many texts that a compiled step is slower.

    Raises:
        MachineError: torch cannot compile here.
    """
    if rows > hardware.of(device.type).compiled_rows(is_int8):
        what = f"{rows} texts at once" if rows > 1 else "int8 weights"
        log.warning("warning: %s are faster without compiling, which is left out", what)
        return None
    return compiled_next_logits(device, is_int8, rows)


def compiled_next_logits(device: torch.device, is_int8: bool = False, rows: int = 1) -> "Step":
    """`next_logits`, compiled; on a GPU with the choice of the token.

    It compiles at the first call for each model shape, and for a second number of texts once more, then for any number.
    That takes a while, less if torch's disk cache has the result. Use it for one batch of texts: one token per row,
    after at least one on a GPU and two on a CPU, in a cache whose capacity exceeds block_size.

    Raises:
        MachineError: torch cannot compile here.
    """
    if not can_compile(device.type):
        fix = "install g++ or clang" if device.type == "cpu" else "leave compile out"
        raise MachineError("torch cannot compile here", f"generation on {device.type}", fix)
    if device.type != "cuda":
        return DynamicStep(is_int8)
    return StaticStep(_compiler(is_tuned=hardware.of("cuda").tunes(rows)), recorded)


def recorded_next_logits(model: Decoder, rows: int, count: int) -> "StaticStep | None":
    """`next_logits` and the choice of the token on a GPU, recorded but not compiled; None where that is not faster or
    may not compute the same.
    """
    is_faster = hardware.of(_device(model).type).records(rows, count)
    is_known = is_faster and not torch.is_autocast_enabled("cuda") and not any(map(_may_change, model.modules()))
    return StaticStep(next_logits, recorded) if is_known else None


def _device(model: Decoder) -> torch.device:
    return model.wte.weight.device


def _may_change(module: nn.Module) -> bool:
    """Whether a module's Python may do something else at each call: it has hooks or a replaced forward, or is a part of
    one's own."""
    is_hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return is_hooked or "forward" in vars(module) or type(module).__module__.split(".")[0] not in ("microgpt", "torch")


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
def _compiler(vector_bits: int | None = None, is_tuned: bool = False) -> NextLogits:
    """The compiled function.

    Args:
        is_tuned: try several sizes of each GPU kernel, and write products with one row as kernels too.
    """
    options: dict[str, Any] = {"cpp.simdlen": vector_bits} if vector_bits else {}
    if is_tuned:
        options["coordinate_descent_tuning"] = True
    return compiling.compiled(next_logits, **({"options": options} if options else {}))


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
    """The next token of one batch of texts, with fixed shapes and addresses, so that it can be recorded once."""

    def __init__(self, step: NextLogits, record: Record) -> None:
        self.step, self.record = step, record
        self.cache: StaticCache | None = None
        self.tokens: Tensor
        self.numbers: Tensor
        self.replay: Callable[[], Tensor]

    def next_token(self, model: Decoder, tokens: Tensor, cache: KVCache, params: SamplingParams) -> Tensor:
        """Choose one token per row, (B,).

        Args:
            tokens: (B, 1), the latest tokens.
            cache: holds those before, at least one.
            params: the same at each call.
        """
        bias = model.pos.bias(1, cache.length + 1)
        if self.cache is None or cache.length == self.cache.capacity:
            self.cache, self.tokens = StaticCache(cache, bias, _width(cache)), tokens.clone()
            self.numbers = torch.zeros(len(tokens), 1, device=tokens.device)
            self.replay = self._recorded(model, params)
        self.tokens.copy_(tokens)
        if not params.is_greedy:
            self.numbers.copy_(uniforms(len(tokens), params.generator, tokens.device))
        self.cache.follow(cache, bias)
        token = self.replay().clone()  # the next call overwrites it
        cache.advance(1)
        if self.cache.recent is not None:
            cache.remember(self.cache.recent)
        return token

    def _recorded(self, model: Decoder, params: SamplingParams) -> Callable[[], Tensor]:
        def step() -> Tensor:
            logits = self.step(model, self.tokens, self.cache)
            return logits.argmax(-1) if params.is_greedy else drawn(logits, params, self.numbers)

        with warnings.catch_warnings():
            # torch's compiler recommends products of rounded float32 numbers, and remarks on a long softmax.
            warnings.filterwarnings("ignore", message=r"TensorFloat32 tensor cores|\s*Online softmax is disabled")
            return self.record(step, self.tokens.device)


def _width(cache: KVCache) -> int:
    """How many of a cache's tokens a recorded step reads: the whole context's, unless they are too many bytes."""
    context = cache.capacity - 1  # see `stream.tokens`
    return min(context, -(-(cache.length + 1) // 64) * 64) if cache.n_bytes() >= _WIDE else context


Step = DynamicStep | StaticStep
"""What generates a token faster than `next_logits`."""
