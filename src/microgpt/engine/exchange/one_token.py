"""The step that generates one token, exported by `torch.export`: a graph of core ATen operations with fixed shapes.

B batch, L layers, H heads, H_kv heads of keys and values, D = C / H, S = block_size places of the cache, V vocabulary.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from microgpt.errors import UsageError
from microgpt.model import GPT
from microgpt.model.block import Block
from microgpt.model.generation.kv_cache import KVCache, StaticCache
from microgpt.text import one_line

Layers = list[tuple[Tensor, Tensor]]
"""Each layer's keys and values, (B, H_kv, S, D)."""


class FunctionalCache(StaticCache):
    """A static cache that makes new tensors instead of writing into its own, so that it can be exported.

    Args:
        place: int64 scalar, the position of the next token.
        mask: (H or 1, 1, S), added to the scores.
        recent: the tokens before, as in `embeddings.with_before`; None if the model needs none.
    """

    def __init__(self, place: Tensor, mask: Tensor, recent: Tensor | None, layers: Layers) -> None:
        KVCache.__init__(self, len(layers), layers[0][0].shape[2])
        self.place, self._mask, self.recent, self.filled = place, mask, recent, list(layers)

    @property
    def mask(self) -> Tensor:
        return self._mask

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.filled[layer]
        row = self.place.view(1)
        self.filled[layer] = (keys.index_copy(2, row, k), values.index_copy(2, row, v))
        return self.filled[layer]

    def remember(self, recent: Tensor) -> None:
        self.recent = recent


class OneToken(nn.Module):
    """One token in, the next token's logits and everything worth looking at out.

    Args:
        model: float32, in eval mode.
    """

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model
        before = [module.reach for module in (model.ngram, model.prev) if module is not None]
        self.reach = max(before, default=0)
        self.bias: Tensor | None
        self.register_buffer("bias", bias_table(model), persistent=False)
        self.is_by_distance = self.bias is not None and self.bias.dim() == 2

    def forward(
        self, token: Tensor, place: Tensor, heads: Tensor, layers: Layers, recent: Tensor | None = None
    ) -> dict[str, Any]:
        """Read one token.

        Args:
            token: (B, 1) int64.
            place: int64 scalar, the number of tokens in the cache; below S.
            heads: (L, H): 1 keeps a head's output, 0 switches it off.
            layers: the cache.
            recent: (B, reach) int64: 1 + the tokens before, 0 before the text.

        Returns:
            `logits` (B, V), `layers` and `recent` for the next call, `attention` [(B, H, 1, S)] and `stream`
            [(B, 1, C)], the residual stream before each layer and after the last.
        """
        cache = FunctionalCache(place, self.mask(place), recent, layers)
        attention: list[Tensor] = []
        stream: list[Tensor] = []
        with observed(self.model, heads, stream):
            x = self.model.trunk(token, cache, attention)
        out = {"logits": self.model.logits(x)[:, -1], "attention": attention, "stream": stream, "layers": cache.filled}
        return out if recent is None else {**out, "recent": cache.recent}

    def mask(self, place: Tensor) -> Tensor:
        """(H or 1, 1, S): the scheme's bias for the token at `place`, -inf for the places after it."""
        S = self.model.config.block_size
        keys = torch.arange(S)
        if self.bias is None:
            bias = torch.zeros(1, 1, 1)
        elif self.is_by_distance:
            bias = self.bias.index_select(1, (place - keys).clamp(min=0))[:, None]  # (H, 1, S)
        else:
            bias = self.bias.index_select(1, place.view(1))
        return torch.where(keys > place, -torch.inf, bias)

    def example(self, batch: int = 1) -> dict[str, Any]:
        """Arguments of `forward` for an empty cache."""
        config, weight = self.model.config, self.model.wte.weight
        room = (batch, config.kv_heads, config.block_size, config.head_width)
        given = {
            "token": torch.zeros(batch, 1, dtype=torch.int64),
            "place": torch.zeros((), dtype=torch.int64),
            "heads": torch.ones(config.n_layer, config.n_head),
            "layers": [(weight.new_zeros(room), weight.new_zeros(room)) for _ in range(config.n_layer)],
        }
        return given | ({"recent": torch.zeros(batch, self.reach, dtype=torch.int64)} if self.reach else {})


class Lens(nn.Module):
    """The logit lens (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens): the logits
    (B, V) if the residual stream `x` (B, 1, C) were already the last one."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model.logits(self.model.norm(x))[:, -1]}


@contextmanager
def observed(model: GPT, heads: Tensor, stream: list[Tensor]) -> Iterator[None]:
    """Within the context, scale each head's output by `heads` (L, H) and append the residual streams to `stream`."""

    def scale(layer: int, _: nn.Module, given: tuple[Tensor]) -> Tensor:
        y = given[0].view(*given[0].shape[:-1], model.config.n_head, -1)  # (B, T, H, D)
        return (y * heads[layer][:, None]).flatten(-2)

    def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
        stream.append(given[0])

    def keep_last(_: nn.Module, __: tuple[Any, ...], out: Tensor) -> None:
        stream.append(out)

    with ExitStack() as hooks:
        for layer, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            hooks.callback(block.attn.out.register_forward_pre_hook(partial(scale, layer)).remove)
            hooks.callback(block.register_forward_pre_hook(keep).remove)
        hooks.callback(model.blocks[-1].register_forward_hook(keep_last).remove)
        yield


@torch.no_grad()
def bias_table(model: GPT) -> Tensor | None:
    """The position scheme's bias of every token for every key: (H, S, S), or (H, S) by their distance if that is all
    that it depends on; None if the scheme adds none."""
    S = model.config.block_size
    rows = [model.pos.bias(1, k) for k in range(1, S + 1)]  # S of (H, 1, k)
    if rows[0] is None:
        return None
    table = torch.zeros(rows[0].shape[0], S, S)
    for k, row in enumerate(rows):
        assert row is not None
        table[:, k, : k + 1] = row[:, 0]
    by_distance = table[:, -1].flip(-1)  # (H, S)
    query, key = torch.tril_indices(S, S)
    return by_distance if torch.equal(table[:, query, key], by_distance[:, query - key]) else table


@torch.no_grad()
def stored_copy(model: GPT, store: Callable[[nn.Parameter], Tensor] = lambda p: p) -> GPT:
    """A float32 copy on the CPU, in eval mode, with each weight replaced by `store` of it."""
    twin = copy.deepcopy(model).cpu().float().eval()
    for p in twin.parameters():
        p.copy_(store(p))
    return twin


def exported(module: nn.Module, given: dict[str, Any], dynamic: Any = None) -> torch.export.ExportedProgram:
    """A module's graph of core ATen operations, linear layers kept whole.

    Raises:
        UsageError: a part of the model cannot be exported.
    """
    table: dict[Any, Any] = torch.export.default_decompositions()
    del table[torch.ops.aten.linear.default]
    try:
        with warnings.catch_warnings(), torch.enable_grad():  # without gradients `Linear` has a form for the compiler
            warnings.simplefilter("ignore")
            program: torch.export.ExportedProgram = torch.export.export(module, (), given, dynamic_shapes=dynamic)
            return program.run_decompositions(table)  # type: ignore[no-any-return]
    except Exception as error:  # torch raises many kinds, for whatever a user's own part may do
        what = f"torch.export cannot follow the model ({one_line(error, 200)})"
        fix = "a part of your own must take `start` as a tensor: read tables with `pos.base.rows`"
        raise UsageError(what, "the export", fix) from error
