"""The names and shapes of a model's activations; `instruments` hands them to a caller, who may replace them.

Names follow the architecture, so that a part of your own has names too. L is a layer, h a head; B batch, T tokens,
C = n_embd, H heads, H_kv heads of keys and values, D = C / H, Tk keys, V vocabulary.

    embed                          (B, T, C)        the residual stream that enters the first layer
    pos.bias                       (H, T, Tk)       the position scheme's addition to the scores, if it has one
    blocks.L.resid.pre             (B, T, C)        the layer's input
    blocks.L.resid.mid             (B, T, C)        the stream after attention; in a parallel block, the MLP reads .pre
    blocks.L.resid.post            (B, T, C)        the layer's output
    blocks.L.attn.q                (B, H, T, D)     queries as they meet the keys: normalised and rotated
    blocks.L.attn.k, .v            (B, H_kv, Tk, D) keys; values, with the value embedding
    blocks.L.attn.scores           (B, H, T, Tk)    -inf in the future, which stays masked when a patch replaces them
    blocks.L.attn.probabilities    (B, H, T, Tk)    rows sum to 1
    blocks.L.attn.z                (B, H, T, D)     each head's mean of the values
    blocks.L.attn.head.h           (B, T, C)        what head h adds to attn.out, which is their sum and the bias
    blocks.L.mlp.hidden            (B, T, hidden)   the input of the MLP's layer `out`, if it has one
    logits                         (B, T, V)

Every module of the model has its output under its own path besides: `wte`, `ngram`, `blocks.L.norm1`,
`blocks.L.attn.qkv`, `blocks.L.attn.out`, `blocks.L.mlp.widen`, `blocks.L.mlp`, `norm`, `head`, ...

A model that nobody looks into has no hooks: its operations, exported and compiled graphs and speed are unchanged.
"""

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from microgpt.model.block import Block
from microgpt.model.pos.base import Position

IN_ATTENTION = ("q", "k", "v", "scores", "probabilities", "z")
CONTAINERS = (nn.ModuleList, nn.ModuleDict, Position)
"Modules that the model does not call as functions, so that they have no output."


class Tap(Protocol):
    """A caller that sees activations."""

    def wants(self, name: str) -> bool:
        """Whether to compute this activation for the caller."""

    def see(self, name: str, value: Tensor) -> Tensor:
        """Look at an activation; the result takes its place."""


class Tappable(Protocol):
    """The parts of a GPT that have activations."""

    @property
    def pos(self) -> Position:
        """The position scheme."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers, each a `Block`."""

    def logits(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., V)."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules by path."""


def activation_names(model: Tappable) -> list[str]:
    """The names that a model's activations can have; modules that its forward pass never calls are among them."""
    paths = [path for path, module in model.named_modules() if path and not isinstance(module, CONTAINERS)]
    names = ["embed", "pos.bias", *(path for path in paths if not path.startswith("blocks."))]
    for layer, block in enumerate(blocks_of(model)):
        at = f"blocks.{layer}"
        names += [f"{at}.resid.{place}" for place in ("pre", "mid", "post")]
        names += [path for path in paths if path.startswith(f"{at}.")]
        names += [f"{at}.attn.{part}" for part in IN_ATTENTION]
        names += [f"{at}.attn.head.{head}" for head in range(block.attn.n_head)]
        if isinstance(getattr(block.mlp, "out", None), nn.Module):
            names.append(f"{at}.mlp.hidden")
    return list(dict.fromkeys((*names, "logits")))


def blocks_of(model: Tappable) -> list[Block]:
    """The model's layers, typed."""
    return [block for block in model.blocks if isinstance(block, Block)]
