"""Pack weights for generation in the order in which the CPU's matrix kernels read them.

oneDNN (https://github.com/uxlfoundation/oneDNN) rearranges a matrix into blocks at each call, which dominates a product
of a few rows. This module does it once for all tokens. Microseconds on one core with AVX512-bf16, for a 1152 x 384
matrix, plain and packed:

    1 row     float32   58   52    bfloat16   50   37
    16 rows   float32  226  153    bfloat16  105   79
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

from torch import Tensor, nn

from microgpt.model.kernels import hardware, torch_private
from microgpt.model.kernels.linear import Linear, onednn_is_fast

PACKING_PAYS = 32
"""The fewest tokens for which packing the weights pays off."""
_ROWS = 16  # the fewest rows to pack for: packing for fewer makes float32 products slower
_MOST = 2**30  # bytes of weights: copies are held beside them

Product = tuple[object, str, Tensor, Tensor | None]
"""A linear layer: a module, the name of its function (..., inputs) -> (..., outputs), its weight and its bias."""


class Packable(Protocol):
    """A model whose linear layers are `Linear`, with a head or a token embedding that serves as one."""

    @property
    def wte(self) -> nn.Embedding:
        """The token embedding."""

    @property
    def head(self) -> Linear | None:
        """The output layer; None if `project` multiplies by the token embedding's matrix."""

    def project(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., V) with the token embedding's matrix."""

    def modules(self) -> Iterator[nn.Module]:
        """The model and every module in it."""


def products(model: Packable) -> list[Product]:
    """The products of a model whose function another may replace, by an entry in its module's `vars`; none if one is
    replaced already, by int8 weights or by another text that is being generated."""
    found: list[Product] = [
        (layer, "forward", layer.weight, layer.bias) for layer in model.modules() if isinstance(layer, Linear)
    ]
    if model.head is None:
        found.append((model, "project", model.wte.weight, None))
    return [] if any(name in vars(module) for module, name, _, _ in found) else found


@contextlib.contextmanager
def packed(model: Packable, rows: int) -> Iterator[None]:
    """Within the context, compute with packed copies of the model's matrices if that is faster.

    The copies suit products with (rows, inputs). Results differ only by rounding. Changes to the weights within the
    context take effect after it.
    """
    found = products(model)
    if not pays([weight for _, _, weight, _ in found]):
        found = []
    for module, name, weight, bias in found:
        vars(module)[name] = _product(weight, bias, max(_ROWS, rows))
    try:
        yield
    finally:
        for module, name, _, _ in found:
            del vars(module)[name]


def pays(weights: list[Tensor]) -> bool:
    """Whether products with copies of the weights in another order are faster, and the copies not too large."""
    fits = sum(weight.numel() * weight.element_size() for weight in weights) <= _MOST
    is_faster = all(weight.device.type == "cpu" and hardware.of("cpu").packs(weight.dtype) for weight in weights)
    return fits and is_faster and onednn_is_fast()


def _product(weight: Tensor, bias: Tensor | None, rows: int) -> Callable[[Tensor], Tensor]:
    """A function (..., inputs) -> (..., outputs): the linear layer with this weight (outputs, inputs), packed."""
    blocks = torch_private.reorder_linear_weight(weight.detach(), rows)
    linear = torch_private.linear_pointwise()
    return lambda x: linear(x, blocks, bias, "none", [], "")
