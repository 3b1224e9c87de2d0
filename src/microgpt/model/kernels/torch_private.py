"""Private and unstable names of torch, each used through a function of this file.

Checked with torch 2.10 to 2.13 (`CHECKED`). If a later torch drops a name, its first use raises a clear error and a
test fails.
"""

import contextlib
import functools
import warnings
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
        MachineError: this torch does not have it.
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


def dispatch_mode() -> type[Any]:
    """The base class of contexts that see each operation: `__torch_dispatch__(func, types, args, kwargs)`."""
    mode: type[Any] = find("utils._python_dispatch.TorchDispatchMode")
    return mode


def tree_leaves(tree: Any) -> list[Any]:
    """What nested lists, tuples and dicts hold, in order."""
    leaves: list[Any] = find("utils._pytree.tree_leaves")(tree)
    return leaves


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with each leaf replaced."""
    return find("utils._pytree.tree_map")(function, tree)


def tree_unflatten(leaves: list[Any], spec: Any) -> Any:
    """The tree of a specification, such as an exported program's `out_spec`, with these leaves."""
    return find("utils._pytree.tree_unflatten")(leaves, spec)


def dynamic_sources(names: str) -> contextlib.AbstractContextManager[None]:
    """Within the context, torch.compile treats these numbers, such as `L['cache'].length`, as variable."""
    patched: contextlib.AbstractContextManager[None] = find("compiler.config.patch")(dynamic_sources=names)
    return patched


def has_fbgemm() -> bool:
    """Whether this torch and this CPU have FBGEMM's int8 products."""
    return "fbgemm" in find("backends.quantized.supported_engines")


def pack_int8(weight: Tensor, scale: Tensor) -> Any:
    """int8 weights (outputs, inputs) with a float scale (outputs,) for each row, packed for `int8_product`."""
    engines = find("backends.quantized")
    before = engines.engine
    engines.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*quantized tensor|.*quantiz", category=UserWarning)
            zeros = torch.zeros(len(weight), dtype=torch.int64)
            quantized = find("_make_per_channel_quantized_tensor")(weight, scale.double(), zeros, 0)
            return find("ops.quantized.linear_prepack")(quantized, None)
    finally:
        engines.engine = before


@functools.cache
def _int8_product() -> Callable[..., Tensor]:
    operation: Callable[..., Tensor] = find("ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default")
    return operation


def int8_product(x: Tensor, scale: float, zero: int, packed: Any) -> Tensor:
    """x W^T in float32 of a float32 x (..., inputs), rounded to the integers x / scale + zero of 0 to 255."""
    return _int8_product()(x, scale, zero, packed)
