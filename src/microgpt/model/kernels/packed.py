"""Weights in the order in which the CPU's matrix kernels read them, for generation.

A product with a few rows reads each weight once and does little with it. oneDNN (https://github.com/uxlfoundation/oneDNN)
first brings a matrix into blocks of its own, at each call; here it is done once for all tokens. Of a 1152 x 384 matrix,
on one core with AVX512-bf16, in microseconds, as it is and packed:

    1 row     float32   58   52    bfloat16   50   37
    16 rows   float32  226  153    bfloat16  105   79
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from microgpt.model.kernels import hardware
from microgpt.model.kernels.linear import Linear, onednn_is_fast

if TYPE_CHECKING:
    from microgpt.model.gpt import GPT

_ROWS = 16  # at least; what is packed for fewer rows is slower to multiply with in float32
_MOST = 2**30  # bytes of weights: the packed ones stand beside them


@contextlib.contextmanager
def packed(model: "GPT", rows: int) -> Iterator[None]:
    """Within, the model computes with copies of its matrices, packed for products with (rows, inputs), where that is
    faster; its results are equal but for rounding. Weights changed within count afterwards."""
    products: list[tuple[nn.Module, str, Tensor, Tensor | None]] = [
        (layer, "forward", layer.weight, layer.bias) for layer in model.modules() if isinstance(layer, Linear)
    ]
    if model.head is None:
        products.append((model, "project", model.wte.weight, None))
    is_packed = any(name in vars(module) for module, name, _, _ in products)  # by another text that is being made
    if is_packed or not _pays([weight for _, _, weight, _ in products]):
        products = []
    for module, name, weight, bias in products:
        vars(module)[name] = _product(weight, bias, max(_ROWS, rows))
    try:
        yield
    finally:
        for module, name, _, _ in products:
            del vars(module)[name]


def _pays(weights: list[Tensor]) -> bool:
    if not onednn_is_fast():
        return False
    fits = sum(weight.numel() * weight.element_size() for weight in weights) <= _MOST
    return fits and all(weight.device.type == "cpu" and hardware.of("cpu").packs(weight.dtype) for weight in weights)


def _product(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """(..., inputs) -> (..., outputs), as a linear layer with this weight (outputs, inputs)."""
    blocks = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    linear = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: linear(x, blocks, bias, "none", [], "")
