"""Patches: replace activations by name, to ablate, to steer, or to put one text's activations into another's pass.

    with model.patched({"blocks.1.attn.head.3": zero, "blocks.0.mlp": lambda x: 2 * x}):
        logits, _ = model(ids)

`microgpt.model.activations` lists the names and their shapes.
"""

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from microgpt.errors import UsageError
from microgpt.model.activations import Tappable, activation_names
from microgpt.model.instruments import tapped
from microgpt.text import shown

Patch = Tensor | np.ndarray | float | Callable[[Tensor], Tensor]
"""What replaces an activation: a tensor, array or number that broadcasts to its shape, or a function of it."""
VALUES = (Tensor, np.ndarray, int, float)


def zero(x: Tensor) -> Tensor:
    """Zeros: the part adds nothing."""
    return torch.zeros_like(x)


def mean(x: Tensor) -> Tensor:
    """The activation's mean over the texts and tokens of the pass, so that the part says the same everywhere.

    (B, T, C), or by head (B, H, T, D). The mean over another text is a tensor:
    `run.inspect(text)["blocks.0.mlp"].mean(0)`.
    """
    dims = (0, 2) if x.ndim == 4 else tuple(range(x.ndim - 1))
    return x.mean(dims, keepdim=True).expand_as(x)


def at(positions: int | Sequence[int] | slice, patch: Patch) -> Callable[[Tensor], Tensor]:
    """A patch of some tokens alone; the others keep their activation.

    Args:
        positions: indices of tokens, the queries' in scores and probabilities; negative ones count from the end.
        patch: replaces the activation; of a tensor, the rows of these positions are used.
    """

    def patched(x: Tensor) -> Tensor:
        new, mixed = replacement(patch, x, "at(...)"), x.clone()
        rows = torch.arange(x.shape[-2], device=x.device)
        try:
            rows = rows[[positions] if isinstance(positions, int) else positions]
        except IndexError:
            what = f"position {positions} of {x.shape[-2]} tokens"
            raise UsageError(what, "at", f"positions are {-x.shape[-2]} to {x.shape[-2] - 1}") from None
        mixed[..., rows, :] = new[..., rows, :]
        return mixed

    return patched


def replacement(patch: Patch, x: Tensor, name: str) -> Tensor:
    """What a patch makes of an activation, in the activation's shape, dtype and device.

    Raises:
        UsageError: the shapes differ, or the function returns no tensor.
    """
    new = patch(x) if callable(patch) else patch
    if not isinstance(new, VALUES):
        raise UsageError(f"the patch returned a {type(new).__name__}", f"patched, {name!r}", "return a tensor")
    new = torch.as_tensor(new).to(x)
    try:
        return new.expand_as(x)
    except RuntimeError:
        what = f"a patch of shape {tuple(new.shape)} for an activation of shape {tuple(x.shape)}"
        raise UsageError(what, f"patched, {name!r}", "give a tensor that broadcasts to it, or a function") from None


class Patches:
    """The tap that replaces activations."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self.patches, self.used = dict(patches), set[str]()

    def wants(self, name: str) -> bool:
        """Whether this activation is patched."""
        return name in self.patches

    def see(self, name: str, value: Tensor) -> Tensor:
        """Replace the activation."""
        self.used.add(name)
        return replacement(self.patches[name], value, name)


class Patchable:
    """What a GPT inherits to be patched."""

    @contextlib.contextmanager
    def patched(self, patches: Mapping[str, Patch]) -> Iterator[None]:
        """Within the context, replace activations in every forward pass, of `generate` too. Contexts may nest.

        The model runs uncompiled there. While a text is generated, a pass sees the newest tokens alone: a tensor must
        then broadcast to one token, as a direction (C,) does.

        Args:
            patches: by the names of `microgpt.model.activations`: a tensor or number that broadcasts to the
                activation, or a function of it, such as `zero` and `mean` of `microgpt.inspect`.

        Raises:
            UsageError: there is no such activation, the model ran without computing it, or a shape does not fit.
        """
        model = cast(Tappable, self)
        for name, patch in patches.items():
            check_name(name, activation_names(model), "patched")
            check_patch(name, patch)
        tap, ran = Patches(patches), _Ran()
        # Compiled code would neither see these hooks nor, compiled here, forget them.
        with torch.compiler.set_stance("force_eager"), tapped(model, [tap, ran]):
            yield
        for name in sorted(patches.keys() - tap.used):
            if ran.is_true:
                fix = "patch an activation that the model computes: microgpt.inspect lists those of a text"
                raise UsageError(f"the model ran without computing {name!r}", "patched", fix)


def check_patch(name: str, patch: object) -> None:
    """Check that a patch is one, and can be for this activation.

    Raises:
        UsageError: it is not, or is `mean` of a matrix of tokens by tokens.
    """
    if not callable(patch) and not isinstance(patch, VALUES):
        what = f"a patch of type {type(patch).__name__}"
        raise UsageError(what, f"patched, {name!r}", "give zero, mean, a tensor, a number or a function")
    if patch is mean and name.endswith((".scores", ".probabilities")):
        what = "the mean over tokens of a matrix of tokens by tokens"
        raise UsageError(what, f"patched, {name!r}", "patch attn.z with mean, or give a function")


class _Ran:
    """The tap that notices a forward pass."""

    is_true = False

    def wants(self, name: str) -> bool:
        return name == "logits"

    def see(self, name: str, value: Tensor) -> Tensor:
        self.is_true = True
        return value


def check_name(name: str, known: Sequence[str], where: str) -> None:
    """Check an activation's name.

    Raises:
        UsageError: it is not known; the error gives the layers, the heads or the nearest names.
    """
    if name in known:
        return
    layers = {int(other.split(".")[1]) for other in known if other.startswith("blocks.")}
    if (layer := re.match(r"blocks\.(-?\d+)(\.|$)", str(name))) and int(layer[1]) not in layers:
        raise UsageError(f"no layer {layer[1]}: {shown(name)}", where, f"layers are 0 to {max(layers)}")
    if head := re.match(r"(blocks\.\d+\.attn\.head)\.(.*)$", str(name)):
        last = sum(other.startswith(f"{head[1]}.") for other in known) - 1
        raise UsageError(f"no head {shown(head[2])}: {shown(name)}", where, f"heads are 0 to {last}")
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.6)
    listed = f"did you mean {', '.join(map(repr, near))}?" if near else "microgpt.inspect.names(model) lists them"
    raise UsageError(f"no activation {shown(name, 60)}", where, listed)
