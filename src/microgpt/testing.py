"""Check your own attention: shapes, causality, softmax, scale, rotation, heads and gradients.

    from microgpt.testing import check_attention

    check_attention(mine, project=lambda x: mine.qkv(x).chunk(3, dim=-1), output=mine.proj, n_head=4, n_embd=32)

A check that fails raises `AttentionError` (an AssertionError), which names the fault where it is a known one. Imports
only torch. B batch, T tokens, C = n_embd, H heads, D = C / H.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Module = Callable[[Tensor], Tensor]
LENGTHS = (1, 2, 16)
"""The T that are tried."""
Project = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


class AttentionError(AssertionError):
    """A check of `check_attention` failed.

    Attributes:
        fault: the name of the check or of the fault, one of `FAULTS`, "shape", "nan", "gradient", "rotation" or
            "output".
    """

    def __init__(self, fault: str, what: str) -> None:
        super().__init__(f"{fault}: {what}")
        self.fault = fault


@dataclass(frozen=True)
class _Variant:
    """Attention with one thing wrong."""

    hidden_from: int | None = 1
    "The distance ahead from which tokens are hidden; None hides none."
    scales_by: Literal["D", "C", "1"] = "D"
    rotates_q: bool = True
    rotates_k: bool = True
    softmax_dim: int = -1
    mixes_heads: bool = False
    joins_heads: bool = True
    projects_output: bool = True


FAULTS: dict[str, tuple[_Variant, str]] = {
    "future visible": (_Variant(hidden_from=None), "add -inf to the scores where the key is later than the query"),
    "own token hidden": (_Variant(hidden_from=0), "mask keys later than the query, triu(1); a token sees itself"),
    "no scale": (_Variant(scales_by="1"), "divide the scores by sqrt(D), D = n_embd / n_head"),
    "wrong scale": (_Variant(scales_by="C"), "divide the scores by sqrt(D), D = n_embd / n_head, not by sqrt(n_embd)"),
    "keys unrotated": (_Variant(rotates_k=False), "rotate queries and keys alike"),
    "queries unrotated": (_Variant(rotates_q=False), "rotate queries and keys alike"),
    "positions ignored": (_Variant(rotates_q=False, rotates_k=False), "rotate queries and keys before their product"),
    "wrong softmax axis": (_Variant(softmax_dim=-2), "the softmax runs over the keys, the last axis of the scores"),
    "heads mixed": (
        _Variant(mixes_heads=True),
        "(B, T, C) -> (B, T, H, D) -> (B, H, T, D): view, then transpose; a view alone mixes tokens into heads",
    ),
    "heads not joined": (
        _Variant(joins_heads=False),
        "(B, H, T, D) -> (B, T, H, D) -> (B, T, C): transpose, then reshape; a reshape alone mixes heads into tokens",
    ),
    "no output projection": (_Variant(projects_output=False), "send the joined heads through the output projection"),
}
"""Known faults: name -> (attention that has it, how to mend it)."""


def check_attention(
    attention: Module,
    *,
    project: Project,
    n_head: int,
    n_embd: int,
    output: Module | None = None,
    rotate: Module | None = None,
) -> None:
    """Check causal self-attention against the definition (https://arxiv.org/abs/1706.03762).

    Args:
        attention: your module, (B, T, C) -> (B, T, C), in float32 and without dropout (`.eval()`), for T up to 16.
        project: its projections, (B, T, C) -> queries, keys, values, each (B, T, C) before they are split into heads.
        output: its output projection, (B, T, C) -> (B, T, C); None if it has none.
        rotate: its rotary positions (https://arxiv.org/abs/2104.09864), (B, H, T, D) -> (B, H, T, D) for the
            positions 0 to T - 1; None if it has none.

    Raises:
        AttentionError: a check failed; its text names the fault and the remedy.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, LENGTHS[-1], n_embd, generator=generator) * 2
    if rotate is not None:
        _check_rotation(rotate, n_head, n_embd // n_head)
    with torch.no_grad():
        for length in LENGTHS:
            y = attention(x[:, :length])
            if y.shape != (2, length, n_embd):
                raise AttentionError("shape", f"{tuple(y.shape)} for an input of {(2, length, n_embd)}")
            if y.isnan().any():
                raise AttentionError("nan", "a query that sees no key has no softmax; let each token see itself")
            expected = _expected(x[:, :length], _Variant(), project, output, rotate, n_head)
            if not torch.allclose(y, expected, rtol=1e-3, atol=1e-4):
                _name_the_fault(y, x[:, :length], (project, output, rotate, n_head))
    _check_gradients(attention, x, lambda t: _expected(t, _Variant(), project, output, rotate, n_head))


def _expected(
    x: Tensor, variant: _Variant, project: Project, output: Module | None, rotate: Module | None, n_head: int
) -> Tensor:
    """Attention written out: (B, T, C) -> (B, T, C)."""
    B, T, C = x.shape
    D = C // n_head
    heads = project(x)
    if variant.mixes_heads:
        q, k, v = (t.reshape(B, n_head, T, D) for t in heads)
    else:
        q, k, v = (t.reshape(B, T, n_head, D).transpose(1, 2) for t in heads)  # (B, H, T, D)
    if rotate is not None:
        q = rotate(q) if variant.rotates_q else q
        k = rotate(k) if variant.rotates_k else k
    scores = q @ k.mT / math.sqrt({"D": D, "C": C, "1": 1}[variant.scales_by])  # (B, H, T, T)
    if variant.hidden_from is not None:
        hidden = torch.ones(T, T, dtype=torch.bool).triu(variant.hidden_from)
        scores = scores.masked_fill(hidden, -1e9 if variant.hidden_from == 0 else -math.inf)
    y = scores.softmax(dim=variant.softmax_dim).nan_to_num() @ v  # (B, H, T, D)
    y = (y.transpose(1, 2) if variant.joins_heads else y).reshape(B, T, C)
    return y if output is None or not variant.projects_output else output(y)


def _name_the_fault(y: Tensor, x: Tensor, parts: tuple[Project, Module | None, Module | None, int]) -> None:
    """Raise the error of the known fault whose output this is, or of none."""
    for name, (variant, remedy) in FAULTS.items():
        if torch.allclose(y, _expected(x, variant, *parts), rtol=1e-3, atol=1e-4):
            raise AttentionError(name, remedy)
    gap = float((y - _expected(x, _Variant(), *parts)).abs().max())
    what = f"differs from the definition by up to {gap:.3g} with {x.shape[1]} tokens, in a way that is none of: "
    raise AttentionError("output", what + ", ".join(FAULTS))


def _check_rotation(rotate: Module, n_head: int, width: int) -> None:
    """A rotation keeps lengths, turns, and makes products depend on the distance alone."""
    T = LENGTHS[-1]
    vectors = torch.randn(2, 1, n_head, 1, width, generator=torch.Generator().manual_seed(1)).expand(-1, -1, -1, T, -1)
    with torch.no_grad():
        q, k = (rotate(t) for t in vectors)
    for is_wrong, what in _rotation_faults(vectors[0], q, k):
        if is_wrong:
            raise AttentionError("rotation", what)


def _rotation_faults(before: Tensor, q: Tensor, k: Tensor) -> Iterator[tuple[bool, str]]:
    yield q.shape != before.shape, f"{tuple(q.shape)} for an input of {tuple(before.shape)}"
    is_longer = not torch.allclose(q.norm(dim=-1), before.norm(dim=-1), rtol=1e-4)
    yield is_longer, "it changes the length of vectors; a pair turns by an angle: (x cos - y sin, y cos + x sin)"
    yield torch.allclose(q, before), "it turns nothing"
    products = q @ k.mT  # (1, H, T, T): between the positions i and j
    for distance in range(q.shape[2]):
        along = products.diagonal(-distance, dim1=-2, dim2=-1)
        depends = not torch.allclose(along, along[..., :1].expand_as(along), rtol=1e-3, atol=1e-4)
        yield depends, f"products at distance {distance} depend on the position, not on the distance alone"


def _check_gradients(attention: Module, x: Tensor, expected: Module) -> None:
    """The gradients of the input and of every parameter are those of the definition."""
    parameters = list(attention.parameters()) if isinstance(attention, nn.Module) else []
    found = []
    for run in (attention, expected):
        inputs = x.clone().requires_grad_()
        loss = run(inputs).square().sum()
        found.append(torch.autograd.grad(loss, [inputs, *parameters], allow_unused=True))
    for i, (mine, wanted) in enumerate(zip(*found, strict=True)):
        name = "the input" if i == 0 else f"parameter {i - 1} {tuple(parameters[i - 1].shape)}"
        if wanted is None:
            continue
        if mine is None:
            raise AttentionError("gradient", f"none reaches {name}; do not detach, and compute outside no_grad")
        if not torch.allclose(mine, wanted, rtol=1e-2, atol=1e-3 * float(wanted.abs().max())):
            raise AttentionError("gradient", f"that of {name} is not the definition's")
