"""Text from a model, token by token: one implementation for notebooks, commands and samples during training.

The context past its end: a window of the latest tokens grows to block_size; when one more token does not fit, only
the last half of block_size is kept and read anew. So the window holds between half and all of the context, reading
anew costs about one token's work per token, and generation with a cache equals generation without one for every
position scheme, as both follow this rule.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from microgpt.errors import NonFiniteError, UsageError
from microgpt.model.generation.compiled import NextLogits, compiled_next_logits, next_logits
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.kernels.packed import packed

if TYPE_CHECKING:
    from microgpt.model.gpt import GPT

PACKING_PAYS = 32
"""Tokens from which on it pays to pack the weights first."""


def stream(
    model: "GPT",
    idx: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    do_sample: bool = True,
    use_cache: bool = True,
    stop_token: int | None = None,
    generator: torch.Generator | None = None,
    compile: bool = False,
) -> Iterator[Tensor]:
    """Yield the tokens (B,) that follow a batch of prompts, as they are made.

    The model is in eval mode until the iterator ends or is closed, and then in the mode that it was in.

    Args:
        idx: (B, T) int64 prompts, T >= 1; of a prompt longer than the context its end is read.
        max_new_tokens: how many to make, at most.
        temperature: divides the logits: below 1 more likely, above 1 more varied; 0 is greedy.
        top_k: sample among the k likeliest tokens.
        top_p: sample among the likeliest tokens that together have this probability (https://arxiv.org/abs/1904.09751).
        min_p: sample among tokens at least this times as likely as the likeliest (https://arxiv.org/abs/2407.01082).
        do_sample: False takes the likeliest token.
        use_cache: False computes the whole window for each token: the same tokens, slower.
        stop_token: a row that has made it repeats it, and generation ends when all rows have.
        generator: draws one number per row and token, on any device; default: torch's own.
        compile: compile the step that makes a token; see `compiled.compiled_next_logits`. Logits differ by rounding.

    Raises:
        UsageError: an argument is out of range; at the call, before the first token.
        MachineError: torch cannot compile here.
        NonFiniteError: the model's logits are not finite.
    """
    _check(model, idx, max_new_tokens, temperature, top_k, top_p, min_p, stop_token)
    is_greedy = not do_sample or temperature < 1e-6
    sampler = None if is_greedy else Sampler(temperature, top_k, top_p, min_p, generator)
    device = model.wte.weight.device
    step = compiled_next_logits(device) if compile and use_cache else None
    return _tokens(model, idx.to(device), max_new_tokens, sampler, use_cache, stop_token, step)


@torch.no_grad()
def _tokens(
    model: "GPT", idx: Tensor, count: int, sampler: "Sampler | None", use_cache: bool, stop_token: int | None,
    compiled: NextLogits | None,
) -> Iterator[Tensor]:  # fmt: skip
    block_size, was_training = model.config.block_size, model.training
    window = idx[:, -block_size:]  # (B, W): what the model sees
    # The same for all texts of a compiled step, and never full, as a full one would be a layout of its own to compile.
    capacity = block_size + 1 if compiled else min(block_size, window.shape[1] + count)
    cache = KVCache(model.config.n_layer, capacity) if use_cache else None
    fresh = window  # the part of the window that the cache does not hold
    seen, size = [window], window.shape[1]  # the window in pieces, and its length
    stopped = torch.zeros(len(idx), dtype=torch.bool, device=idx.device)
    if was_training:
        model.eval()
    with contextlib.ExitStack() as ending:
        ending.callback(model.train, was_training)
        if compiled is None and count >= PACKING_PAYS:
            ending.enter_context(packed(model, len(idx)))
        for n in range(count):
            is_one_more = cache is not None and cache.length >= 2 and fresh.shape[1] == 1
            step = compiled if compiled is not None and is_one_more else next_logits
            logits = step(model, fresh, cache)  # (B, V)
            if (n == 0 or logits.device.type == "cpu") and not _is_finite(logits):  # on a GPU it waits
                raise NonFiniteError("the model's logits are not finite", "generation", "train it anew or further back")
            token = logits.argmax(-1) if sampler is None else sampler(logits)
            if stop_token is not None:
                token = token.masked_fill(stopped, stop_token)
                stopped |= token == stop_token
            yield token
            if stop_token is not None and stopped.all():
                return
            fresh, size = token[:, None], size + 1
            seen.append(fresh)
            if size > block_size:
                fresh = torch.cat(seen, dim=1)[:, -max(1, block_size // 2) :]
                seen, size = [fresh], fresh.shape[1]
                if cache is not None:
                    cache.clear()
            elif cache is None:
                fresh = torch.cat(seen, dim=1)


def _is_finite(logits: Tensor) -> bool:
    """Whether no number is infinite or NaN. Such a one shows in the sum, which is one operation where four look."""
    return math.isfinite(float(logits.sum())) or bool(logits.isfinite().all())


class Sampler:
    """Draws one token a row from logits (B, V) -> (B,); arguments as for `stream`."""

    def __init__(
        self,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        min_p: float | None,
        generator: torch.Generator | None,
    ) -> None:
        self.temperature, self.generator = temperature, generator
        self.top_k = top_k
        self.top_p = None if top_p == 1 else top_p
        self.min_p = min_p or None

    def __call__(self, logits: Tensor) -> Tensor:
        index = None
        if self.top_k is not None or self.top_p is not None:
            logits, index = logits.topk(self.top_k or logits.shape[-1])  # both (B, k), likeliest first
        if self.temperature != 1:  # the maximum goes first: a tiny temperature must not overflow
            logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        p = logits.softmax(-1)
        if self.top_p is not None:
            p = p * (p.cumsum(-1) - p < self.top_p)  # the mass before a token: the first one always stays
        if self.min_p is not None:
            p = p * (p >= self.min_p * p.amax(-1, keepdim=True))
        # The inverse of the cumulative distribution needs one number per row, wherever the generator lives.
        cumulative = p.cumsum(-1)
        device = self.generator.device if self.generator is not None else p.device
        u = torch.rand(len(p), 1, generator=self.generator, device=device).to(p.device)
        choice = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True)  # (B, 1)
        choice = choice.clamp(max=p.shape[-1] - 1)  # the product may be rounded up to the sum itself
        return (choice if index is None else index.gather(1, choice))[:, 0]


def _check(
    model: "GPT",
    idx: Tensor,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    stop_token: int | None,
) -> None:
    V = model.vocab_size

    def refuse(what: str, fix: str) -> None:
        raise UsageError(what, "generation", fix)

    if idx.dim() != 2 or idx.dtype != torch.int64:
        refuse(f"a prompt of shape {tuple(idx.shape)} and type {idx.dtype}", "it must be (B, T) of int64")
    if idx.shape[0] == 0 or idx.shape[1] == 0:
        refuse("an empty prompt", "give it at least one token")
    low, high = int(idx.min()), int(idx.max())
    if low < 0 or high >= V:
        refuse(f"token {low if low < 0 else high} of a vocabulary of {V}", f"tokens are 0 to {V - 1}")
    if max_new_tokens < 0:
        refuse(f"max_new_tokens {max_new_tokens}", "it must be 0 or more")
    if not (math.isfinite(temperature) and temperature >= 0):
        refuse(f"temperature {temperature}", "it must be 0 (greedy) or more, and finite")
    if top_k is not None and not 1 <= top_k <= V:
        refuse(f"top_k {top_k}", f"it must be 1 to {V}, the size of the vocabulary")
    if top_p is not None and not 0 < top_p <= 1:
        refuse(f"top_p {top_p}", "it must be above 0 and at most 1")
    if min_p is not None and not 0 <= min_p <= 1:
        refuse(f"min_p {min_p}", "it must be 0 to 1")
    if stop_token is not None and not 0 <= stop_token < V:
        refuse(f"stop_token {stop_token}", f"tokens are 0 to {V - 1}")
