"""The contracts of a model's parts: position schemes, norms and MLPs, tried on zeros. No random number is drawn."""

import difflib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microgpt.contract import broken, is_own, must_have_shape, tried
from microgpt.model.pos.base import Position
from microgpt.registry import Choice

B, T = 2, 5
"""Sequences and tokens of the tiny input."""
HOOKS = ("embed", "rotate", "bias")
"""What a position scheme may override."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model that its position scheme must fit."""

    n_embd: int
    n_head: int
    kv_heads: int
    block_size: int


def to_try(config: Choice, made: object) -> bool:
    """Whether a part is the user's own, and has values to try it with."""
    is_foreign = is_own(config) or (is_own(made) and not type(made).__module__.startswith("torch."))
    return is_foreign and not torch.zeros(()).is_meta  # as where a model is built before its weights are read


@torch.no_grad()
def check_position(config: Choice, made: object, sizes: Sizes) -> None:
    """Try the three hooks of a position scheme, for a whole text and for tokens after cached ones.

    Raises:
        UsageError: a hook fails, or returns another shape than documented.
    """
    if not to_try(config, made):
        return
    name = config.name
    if not isinstance(made, Position):
        raise broken(f"{name}.build must return a Position, returns a {type(made).__name__}")
    check_hook_names(name, made)
    was_training = made.training
    made.eval()
    H, D, most = sizes.n_head, sizes.n_embd // sizes.n_head, min(T, sizes.block_size)
    for start in sorted({0, most - 1}):
        n = most - start
        x = torch.zeros(B, n, sizes.n_embd)
        must_have_shape(f"{name}.embed", tried(f"{name}.embed", made.embed, x, start), tuple(x.shape), "(B, T, C)")
        q, k = torch.zeros(B, H, n, D), torch.zeros(B, sizes.kv_heads, n, D)
        rotated = tried(f"{name}.rotate", made.rotate, q, k, start)
        if not isinstance(rotated, tuple) or len(rotated) != 2:
            raise broken(f"{name}.rotate must return two tensors, q and k, returns a {type(rotated).__name__}")
        must_have_shape(f"{name}.rotate's q", rotated[0], tuple(q.shape), "(B, H, T, D)")
        must_have_shape(f"{name}.rotate's k", rotated[1], tuple(k.shape), "(B, H_kv, T, D)")
        bias = tried(f"{name}.bias", made.bias, n, most)
        if bias is not None:
            must_broadcast(f"{name}.bias", bias, (H, n, most))
    made.train(was_training)


def check_hook_names(name: str, made: Position) -> None:
    """Check that a scheme without hooks has no method that is a misspelt one.

    Raises:
        UsageError: it has.
    """
    if any(getattr(getattr(made, hook), "__func__", None) is not getattr(Position, hook) for hook in HOOKS):
        return
    for word in sorted(set(dir(made)) - set(dir(Position))):
        if callable(getattr(made, word)) and (near := difflib.get_close_matches(word, HOOKS, n=1)):
            raise broken(f"{name} has no hook, and its method {word} is none; did you mean {near[0]!r}?")


def must_broadcast(name: str, bias: object, shape: tuple[int, int, int]) -> None:
    """Check that a bias broadcasts to the attention scores.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(bias, Tensor):
        raise broken(f"{name} must return a tensor (H, Tq, Tk) or None, returns a {type(bias).__name__}")
    found = tuple(bias.shape)
    fits = len(found) == 3 and all(have in (1, want) for have, want in zip(found, shape, strict=True))
    if not fits:
        raise broken(f"{name} must broadcast to (H, Tq, Tk) = {shape}, is {found}")


@torch.no_grad()
def check_layer(config: Choice, made: object, width: int) -> None:
    """Try a norm or an MLP, a module (B, T, C) -> (B, T, C).

    Raises:
        UsageError: it fails, or returns another shape.
    """
    if not to_try(config, made):
        return
    name = config.name
    if not isinstance(made, nn.Module):
        raise broken(f"{name}.build must return a torch.nn.Module, returns a {type(made).__name__}")
    was_training = made.training
    made.eval()
    result = tried(f"{name}.forward", made, torch.zeros(B, T, width))
    made.train(was_training)
    must_have_shape(f"{name}.forward", result, (B, T, width), "(B, T, C)")
