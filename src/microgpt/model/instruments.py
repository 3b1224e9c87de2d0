"""Hooks that hand a model's activations to a caller, who may replace them; `activations` has their names."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from microgpt.model.activations import CONTAINERS, IN_ATTENTION, Tap, Tappable, activation_names, blocks_of
from microgpt.model.attention import Context, causal_mask, repeat_heads
from microgpt.model.block import Block


class Instruments:
    """The hooks in a model while at least one tap is open; taps see an activation in the order of opening.

    The model holds them in its attribute `_instruments`.
    """

    def __init__(self, model: Tappable) -> None:
        self.model = model
        self.taps: list[Tap] = []
        self.handles: list[RemovableHandle] = []
        self.stream: dict[int, Tensor] = {}
        "Each layer's input, to compute its stream after attention."

    def wants(self, name: str) -> bool:
        """Whether a tap wants this activation."""
        return any(tap.wants(name) for tap in self.taps)

    def see(self, name: str, value: Any) -> Any:
        """Show an activation to the taps; returns what replaces it."""
        if isinstance(value, Tensor):
            for tap in self.taps:
                if tap.wants(name):
                    value = tap.see(name, value)
        return value

    def install(self) -> None:
        """Hook every module and replace the methods that are no modules."""
        for path, module in self.model.named_modules():
            if path and not isinstance(module, (*CONTAINERS, Block)):
                self.handles.append(module.register_forward_hook(partial(self._output, path)))
        for layer, block in enumerate(blocks_of(self.model)):
            self._install_block(f"blocks.{layer}", layer, block)
        pos, model = self.model.pos, self.model
        vars(pos)["embed"] = self._seen("embed", pos.embed)
        vars(pos)["bias"] = self._seen("pos.bias", pos.bias)
        vars(model)["logits"] = self._seen("logits", model.logits)

    def remove(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        for owner, names in ((self.model.pos, ("embed", "bias")), (self.model, ("logits",))):
            for name in names:
                del vars(owner)[name]

    def _install_block(self, at: str, layer: int, block: Block) -> None:
        carrier = {"pre": block.attn, "post": block.norm1}.get(block.place)
        out = getattr(block.mlp, "out", None)
        self.handles += [
            block.register_forward_pre_hook(partial(self._enter, at, layer)),
            block.register_forward_hook(partial(self._output, f"{at}.resid.post")),
            block.attn.register_forward_pre_hook(partial(self._attention, at)),
            block.attn.out.register_forward_hook(partial(self._heads, at, block.attn.n_head), prepend=True),
            (carrier or block.post_norm1).register_forward_hook(partial(self._middle, at, layer, block.place)),
        ]
        if isinstance(out, nn.Module):
            self.handles.append(out.register_forward_pre_hook(partial(self._hidden, f"{at}.mlp.hidden")))

    def _seen(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: self.see(name, method(*args))

    def _output(self, name: str, module: nn.Module, args: Any, output: Any) -> Any:
        return self.see(name, output)

    def _enter(self, at: str, layer: int, block: nn.Module, args: tuple[Tensor, Context]) -> tuple[Tensor, Context]:
        x = self.stream[layer] = self.see(f"{at}.resid.pre", args[0])
        return x, args[1]

    def _middle(self, at: str, layer: int, place: str, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        """The stream after attention: the module's output, or its sum with the layer's input. A replacement is turned
        into the output that gives it."""
        x: Tensor = self.stream.pop(layer)
        before = output if place == "post" else x + output
        after: Tensor = self.see(f"{at}.resid.mid", before)
        return output if after is before else after if place == "post" else after - x

    def _hidden(self, name: str, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        return (self.see(name, args[0]),)

    def _attention(self, at: str, attn: nn.Module, args: tuple[Tensor, Context]) -> tuple[Tensor, Context] | None:
        if not any(self.wants(f"{at}.attn.{part}") for part in IN_ATTENTION):
            return None
        x, context = args
        attend = partial(self._attend, f"{at}.attn", context.probabilities)
        return x, dataclasses.replace(context, attend=attend, probabilities=None)

    def _attend(  # noqa: PLR0913 - the arguments of Attend, after two that are bound
        self, at: str, kept: list[Tensor] | None, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float
    ) -> Tensor:
        """`attention.reference`, whose every step is shown."""
        q, k, v = self.see(f"{at}.q", q), self.see(f"{at}.k", k), self.see(f"{at}.v", v)
        H, Tq, D = q.shape[1:]
        k, v = repeat_heads(k, H), repeat_heads(v, H)
        mask = causal_mask(Tq, k.shape[2], q.device) if mask is None else mask
        scores = q @ k.mT / math.sqrt(D) + mask  # (B, H, Tq, Tk)
        seen = self.see(f"{at}.scores", scores)
        if seen is not scores:
            seen = seen.masked_fill(scores.isneginf(), -math.inf)
        probabilities = self.see(f"{at}.probabilities", seen.softmax(dim=-1).to(v.dtype))
        if kept is not None:
            kept.append(probabilities)
        z: Tensor = self.see(f"{at}.z", F.dropout(probabilities, dropout) @ v)
        return z

    def _heads(self, at: str, n_head: int, out: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        for head in range(n_head):
            name = f"{at}.attn.head.{head}"
            if self.wants(name):
                before = head_output(out, args[0], head, n_head)
                after = self.see(name, before)
                output = output if after is before else output + (after - before)
        return output


def head_output(out: nn.Module, z: Tensor, head: int, n_head: int) -> Tensor:
    """What one head adds to the residual stream, without the bias: (..., C).

    Args:
        out: the attention's output layer.
        z: (..., C): its input, the heads side by side.
    """
    D = z.shape[-1] // n_head
    alone = torch.zeros_like(z)
    alone[..., head * D : (head + 1) * D] = z[..., head * D : (head + 1) * D]
    y: Tensor = out.forward(alone)  # not a call, which would run the hooks
    return y - out.bias if isinstance(out.bias, Tensor) else y


def tapped(model: Tappable, taps: Iterable[Tap]) -> "Tapping":
    """Within the context, the taps see the model's activations."""
    return Tapping(model, list(taps))


def tapped_names(model: Tappable) -> list[str]:
    """The activations that open taps want."""
    instruments = vars(model).get("_instruments")
    return [name for name in activation_names(model) if instruments.wants(name)] if instruments else []


class Tapping:
    """The context of `tapped`; contexts may nest."""

    def __init__(self, model: Tappable, taps: list[Tap]) -> None:
        self.model, self.taps = model, taps

    def __enter__(self) -> None:
        held = vars(self.model)
        if "_instruments" not in held:
            held["_instruments"] = Instruments(self.model)
            held["_instruments"].install()
        held["_instruments"].taps.extend(self.taps)

    def __exit__(self, *_: object) -> None:
        held = vars(self.model)
        instruments = held["_instruments"]
        instruments.taps = [tap for tap in instruments.taps if not any(tap is own for own in self.taps)]
        if not instruments.taps:
            held.pop("_instruments").remove()
