"""Private and unstable names of torch, each used through a function of this file.

Checked with torch 2.10 to 2.13 (`CHECKED`). A name that a later torch drops is one clear error where it is first used,
and one failing test.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from microgpt.errors import MachineError

CHECKED = ">=2.10,<2.14"
"""The versions of torch that have every name here."""


def find(path: str) -> Any:
    """The object at a dotted path below torch, such as `compiler.config.patch`.

    Raises:
        MachineError: this torch has none.
    """
    try:
        return functools.reduce(getattr, path.split("."), torch)
    except AttributeError:
        fix = f'microgpt was checked with torch{CHECKED}: pip install "torch{CHECKED}"'
        raise MachineError(f"torch {torch.__version__} has no torch.{path}", "microgpt.model.kernels", fix) from None


@functools.cache
def linear_pointwise() -> Callable[..., Tensor]:
    """oneDNN's linear layer: (x, weight or packed weight, bias, "none", [], "") -> x W^T + bias."""
    operation: Callable[..., Tensor] = find("ops.mkldnn._linear_pointwise.default")
    return operation


def reorder_linear_weight(weight: Tensor, rows: int) -> Tensor:
    """A weight (outputs, inputs) packed for `linear_pointwise` with an x of (rows, inputs)."""
    packed: Tensor = find("ops.mkldnn._reorder_linear_weight")(weight, rows)
    return packed


@functools.cache
def foreach(operation: str) -> Callable[..., Any]:
    """An operation on lists of tensors in few kernels: `foreach("lerp_")(averages, values, weight)`."""
    found: Callable[..., Any] = find(f"_foreach_{operation}")
    return found


def sizes_only() -> contextlib.AbstractContextManager[Any]:
    """Within the context, new tensors have a size, a format and a device, but no memory."""
    mode: contextlib.AbstractContextManager[Any] = find("_subclasses.fake_tensor.FakeTensorMode")()
    return mode


def value_is_missing() -> tuple[type[Exception], ...]:
    """The errors of asking a tensor without memory for its values, or for a size that depends on them."""
    names = ("DataDependentOutputException", "DynamicOutputShapeException")
    return tuple(find(f"_subclasses.fake_tensor.{name}") for name in names)


def dynamic_sources(names: str) -> contextlib.AbstractContextManager[None]:
    """Within the context, torch.compile takes these numbers, such as `L['cache'].length`, for ones that change."""
    patched: contextlib.AbstractContextManager[None] = find("compiler.config.patch")(dynamic_sources=names)
    return patched
