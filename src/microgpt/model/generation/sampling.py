"""Sample the next token from the logits: the settings, their checks, and the draw."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from microgpt.errors import UsageError

GREEDY_BELOW = 1e-6
"""Temperatures below this are greedy: float32 could not tell the probabilities apart."""


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How tokens are chosen.

    Args:
        temperature: divides the logits: below 1 more likely, above 1 more varied; 0 is greedy.
        top_k: sample among the k likeliest tokens.
        top_p: sample among the likeliest tokens that together have this probability (https://arxiv.org/abs/1904.09751).
        min_p: sample among tokens at least this times as likely as the likeliest (https://arxiv.org/abs/2407.01082).
        do_sample: False always takes the likeliest token.
        stop_token: a row that has produced it repeats it, and generation ends when all rows have.
        generator: draws one number per row and token, on any device; None: torch's own.
            A `CounterGenerator` draws the same numbers in every version of torch, on every device and in a page.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    do_sample: bool = True
    stop_token: int | None = None
    generator: "torch.Generator | CounterGenerator | None" = None

    @property
    def is_greedy(self) -> bool:
        """Whether to take the likeliest token each time."""
        return not self.do_sample or self.temperature < GREEDY_BELOW

    def check(self, vocab_size: int) -> None:
        """Check the settings for a vocabulary of this size.

        Raises:
            UsageError: one is out of range.
        """
        V = vocab_size
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            refuse(f"temperature {self.temperature}", "it must be 0 (greedy) or more, and finite")
        if self.top_k is not None and not 1 <= self.top_k <= V:
            refuse(f"top_k {self.top_k}", f"it must be 1 to {V}, the size of the vocabulary")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            refuse(f"top_p {self.top_p}", "it must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            refuse(f"min_p {self.min_p}", "it must be 0 to 1")
        if self.stop_token is not None and not 0 <= self.stop_token < V:
            refuse(f"stop_token {self.stop_token}", f"tokens are 0 to {V - 1}")


def refuse(what: str, fix: str) -> None:
    """Raise the UsageError for an invalid setting."""
    raise UsageError(what, "generation", fix)


def choose(logits: Tensor, params: SamplingParams) -> Tensor:
    """Choose one token per row, (B,), from logits (B, V)."""
    return logits.argmax(-1) if params.is_greedy else sample(logits, params)


def sample(logits: Tensor, params: SamplingParams) -> Tensor:
    """Draw one token per row, (B,), from logits (B, V)."""
    return drawn(logits, params, uniforms(len(logits), params.generator, logits.device))


def drawn(logits: Tensor, params: SamplingParams, u: Tensor) -> Tensor:
    """`sample` with given random numbers, one per row: (B, 1)."""
    top_p = None if params.top_p == 1 else params.top_p
    index = None
    if params.top_k is not None or top_p is not None:
        logits, index = logits.topk(params.top_k or logits.shape[-1])  # both (B, k), likeliest first
    if params.temperature != 1:  # subtract the maximum first: a tiny temperature must not overflow
        logits = (logits - logits.amax(-1, keepdim=True)) / params.temperature
    p = logits.softmax(-1)
    if top_p is not None:
        p = p * (p.cumsum(-1) - p < top_p)  # compare the mass before each token, so that the first always stays
    if params.min_p:
        p = p * (p >= params.min_p * p.amax(-1, keepdim=True))
    # Inverting the cumulative distribution needs one number per row, on any generator's device.
    cumulative = p.cumsum(-1)
    choice = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True)  # (B, 1)
    choice = choice.clamp(max=p.shape[-1] - 1)  # the product may be rounded up to the sum itself
    return (choice if index is None else index.gather(1, choice))[:, 0]


def uniforms(count: int, generator: "torch.Generator | CounterGenerator | None", device: torch.device) -> Tensor:
    """(count, 1) uniform numbers in [0, 1), on `device`."""
    if isinstance(generator, CounterGenerator):
        return torch.tensor([[generator.draw()] for _ in range(count)], device=device)
    source = generator.device if generator is not None else device
    return torch.rand(count, 1, generator=generator, device=source).to(device)


class CounterGenerator:
    """Random numbers that are a pure function of a seed and a counter, as the page of a run draws them.

    Number n is the output n of SplitMix64 (https://doi.org/10.1145/2714064.2660195), its upper 24 bits: a float32 holds
    them exactly.
    """

    def __init__(self, seed: int) -> None:
        self.states = itertools.count(seed + _GOLDEN, _GOLDEN)

    def draw(self) -> float:
        """The next number in [0, 1)."""
        x = next(self.states) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return ((x ^ (x >> 31)) >> 40) / 2**24


_GOLDEN = 0x9E3779B97F4A7C15
