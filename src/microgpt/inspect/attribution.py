"""Direct logit attribution: a logit as a sum over the embeddings, the heads and the MLPs.

The residual stream is a sum of what every part adds to it, and a logit is a product of the normalised stream with the
head's row of the token. Norms are not linear; each is held at what it did to this token, which makes it linear:

    rmsnorm      x g / r            r, the root mean square of the whole stream, is held
    layernorm    (x - mean(x)) g / s + b    s, the standard deviation, is held; b counts as a part of its own
    your own     x (norm(x) / x)    each channel's factor is held

So the parts add up to the logit exactly, and a part's share is what it would take away at the same norms, not what the
model would do without it: parts act through later ones too, which ablation (`patched`) shows. It holds for norms before
(pre), after (post) and around (sandwich) sublayers, with a parallel residual and with `resid_scale`. The biases of the
attention and of norms are parts of their own; an MLP's belong to it. With `logit_softcap` the logit before the cap is
attributed.

Elhage et al., https://transformer-circuits.pub/2021/framework/index.html, section "direct path".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from microgpt.inspect import page
from microgpt.inspect.figures import Theme, heat, inked, number_cells
from microgpt.inspect.text import Text
from microgpt.model import GPT
from microgpt.model.norm.layernorm import LayerNorm
from microgpt.model.norm.rmsnorm import RMSNorm

RED, BLUE = "220,60,50", "50,110,230"


class Part(NamedTuple):
    """A part's share of a logit: an embedding, a head, an MLP or a bias."""

    name: str
    layer: int | None
    head: int | None
    value: float


@dataclass(frozen=True)
class Attribution:
    """A logit, or the difference of two, as a sum of parts."""

    parts: tuple[Part, ...]
    logit: float
    "The model's own, before a softcap."
    position: int
    token: int
    versus: int | None
    text: Text

    @property
    def total(self) -> float:
        """The sum of the parts: the logit, unless `patched` replaced the residual stream itself."""
        return math.fsum(part.value for part in self.parts)

    def heads(self) -> np.ndarray:
        """(L, H): the heads' shares."""
        found = {(p.layer, p.head): p.value for p in self.parts if p.head is not None}
        layers, heads = (max(key[i] or 0 for key in found) + 1 for i in (0, 1))
        return np.array([[found[layer, head] for head in range(heads)] for layer in range(layers)])

    def layers(self) -> np.ndarray:
        """(L, 2): each layer's share by its attention, biases included, and by its MLP."""
        shares = np.zeros((len(self.heads()), 2))
        for part in self.parts:
            if part.layer is not None:
                shares[part.layer, int(".mlp" in part.name)] += part.value
        return shares

    @property
    def title(self) -> str:
        """What is attributed, in words."""
        token, after = self.text.label(self.token), self.text.labels()[self.position]
        if self.versus is None:
            return f"logit of {token} after {after}"
        return f"logit of {token} above that of {self.text.label(self.versus)} after {after}"

    def plot(self, theme: Theme = "light") -> Any:
        """The heads' shares by layer, beside those of the MLPs; a matplotlib figure."""
        from microgpt.inspect.figures import drawable

        heads = self.heads()
        values = np.concatenate((heads, self.layers()[:, 1:]), axis=1)
        columns = [*(f"head {h}" for h in range(heads.shape[1])), "MLP"]
        figure, axes = heat(values, "logit", columns, [f"layer {i}" for i in range(len(heads))], theme)
        number_cells(figure, axes)
        axes.tick_params(axis="x", rotation=90)
        axes.set_title(drawable(self.title), fontsize=9)
        return inked(figure, theme)

    def _repr_html_(self) -> str:
        parts = sorted(self.parts, key=lambda part: -abs(part.value))
        most = max((abs(part.value) for part in parts), default=0.0) or 1.0
        shades = [
            ["", page.shade(round(page.LEVELS * abs(part.value) / most), RED if part.value < 0 else BLUE)]
            for part in parts
        ]
        rows = [[part.name, f"{part.value:+.4f}"] for part in parts]
        note = f"the parts add up to {self.total:.4f}; the logit is {self.logit:.4f}"
        return page.framed(self.title, page.table(("part", "share (logits)"), rows, shades), note)


class Activations(Protocol):
    """The trace that is attributed."""

    @property
    def model(self) -> GPT:
        """The model."""

    @property
    def text(self) -> Text:
        """The tokens as shown."""

    def __getitem__(self, name: str) -> Tensor:
        """An activation."""

    def __contains__(self, name: object) -> bool:
        """Whether the trace has an activation of this name."""


@torch.no_grad()
def attribute(trace: Activations, t: int, token: int, versus: int | None) -> Attribution:
    """Attribute the logit of `token` after position t, less that of `versus` if it is given."""
    model = trace.model
    weight = (model.wte.weight if model.head is None else model.head.weight).detach()
    direction = exact(weight[token]) - (0 if versus is None else exact(weight[versus]))
    walk = Walk(trace, t, direction)
    last = model.config.n_layer - 1
    stream = exact(trace[f"blocks.{last}.resid.post"][t])
    logit = float(exact(trace["norm"][t]) @ direction)
    walk.through("norm", model.norm, stream)
    for layer in range(last, -1, -1):
        walk.layer(layer)
    walk.embeddings()
    return Attribution(tuple(reversed(walk.parts)), logit, t, token, versus, trace.text)


class Walk:
    """Carry the direction in which the logit grows from the head back to the embeddings, and score each part on it."""

    def __init__(self, trace: Activations, t: int, direction: Tensor) -> None:
        self.trace, self.t, self.direction = trace, t, direction
        self.model, self.parts = trace.model, list[Part]()
        self.embedding = torch.zeros_like(direction)
        "The direction for what `resid_scale` takes from the embedding at each layer."

    def at(self, name: str) -> Tensor:
        """An activation at the position, (C,)."""
        return exact(self.trace[name][self.t])

    def add(self, name: str, vector: Tensor, layer: int | None = None, head: int | None = None) -> None:
        """Score a part that adds this vector (C,)."""
        self.parts.append(Part(name, layer, head, float(vector @ self.direction)))

    def through(self, name: str, norm: nn.Module, x: Tensor, layer: int | None = None) -> None:
        """Carry the direction back through a norm of x (C,), and score its shift."""
        back, shift = frozen(norm, x, self.at(name))
        if shift is not None:
            self.add(f"{name}.bias", shift, layer)
        self.direction = back(self.direction)

    def layer(self, layer: int) -> None:
        """Score a layer's parts and carry the direction to its input."""
        at, block = f"blocks.{layer}", self.model.blocks[layer]
        place = self.model.config.norm_place
        for middle, sublayer, norm in (("mid", "mlp", "2"), ("pre", "attn", "1")):
            before, inner = self.at(f"{at}.resid.{middle}"), self.at(f"{at}.{sublayer}")
            if place == "post":
                self.through(f"{at}.norm{norm}", getattr(block, f"norm{norm}"), before + inner, layer)
            outer = self.direction
            if place == "sandwich":
                self.through(f"{at}.post_norm{norm}", getattr(block, f"post_norm{norm}"), inner, layer)
            if sublayer == "mlp":
                self.add(f"{at}.mlp", inner, layer)
            else:
                self.heads(at, layer, inner)
            self.direction = outer
        if self.model.stream_scale is not None and self.model.embed_scale is not None:
            self.embedding = self.embedding + exact(self.model.embed_scale[layer]) * self.direction
            self.direction = exact(self.model.stream_scale[layer]) * self.direction

    def heads(self, at: str, layer: int, total: Tensor) -> None:
        """Score the heads; what they leave of the attention's output is its bias."""
        rest = total
        for head in range(self.model.config.n_head - 1, -1, -1):
            y = self.at(f"{at}.attn.head.{head}")
            self.add(f"{at}.attn.head.{head}", y, layer, head)
            rest = rest - y
        if self.model.config.bias:
            self.add(f"{at}.attn.bias", rest, layer)

    def embeddings(self) -> None:
        """Score the embeddings of the token, of those before it and of its position."""
        self.direction = self.direction + self.embedding
        rest = self.at("embed")
        for name in ("prev", "ngram", "wte"):
            if name in self.trace:
                rest = rest - self.at(name)
        if bool(rest.any()):
            self.add("pos", rest)
        for name in ("prev", "ngram", "wte"):
            if name in self.trace:
                self.add(name, self.at(name))


Carry = Callable[[Tensor], Tensor]


def frozen(norm: nn.Module, x: Tensor, y: Tensor) -> tuple[Carry, Tensor | None]:
    """A norm held at what it made of x (C,), y (C,): how a direction (C,) is carried back through it, and its shift if
    it has one."""
    if isinstance(norm, nn.Identity):
        return lambda d: d, None
    gain = getattr(norm, "weight", None)
    factor = torch.ones_like(x) if gain is None else exact(gain)
    if isinstance(norm, RMSNorm):
        scale = (x.square().mean() + norm.eps).rsqrt()
        return lambda d: d * factor * scale, None
    if isinstance(norm, LayerNorm):
        scale = (x.var(correction=0) + norm.eps).rsqrt()
        return lambda d: centred(d * factor * scale), None if norm.bias is None else exact(norm.bias)
    return lambda d: torch.where(x == 0, 0.0, y / x) * d, torch.where(x == 0, y, 0.0) if bool((x == 0).any()) else None


def centred(x: Tensor) -> Tensor:
    """x less its mean."""
    return x - x.mean()


def exact(x: Tensor) -> Tensor:
    """x in float64 on the CPU, where sums lose nothing that shows."""
    return x.detach().cpu().double()
