"""Copies of weights in panels, over which a compiled step of generation sums faster.

Row by row, a product with one row of inputs adds to the same sums at each step, waits for each addition, and at last
adds up the lanes of a register. A panel holds the weights of as many outputs as fill 32 bytes side by side, input after
input, so that each lane is the sum of one output. Milliseconds for 10.6 million weights, compiled, on one core of a
Zen 4 with registers of 512 and 256 bits, and held to AVX2:

                 rows, 512   rows, 256   panels, 512   panels, 256   AVX2, rows   panels
    float32           3.46        2.37          2.55          2.40         3.13     2.38
    bfloat16          1.15        1.24          0.96          1.29
"""

import contextlib
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from microgpt.model.kernels.linear import buffered, sum_dtype
from microgpt.model.kernels.packed import Packable, pays, products

WIDTH = 32  # bytes side by side
_MADE: WeakKeyDictionary[object, "Panels"] = WeakKeyDictionary()
"""Those of each layer: compiled code knows them as objects, so that the next text must find the same ones."""


class Panels:
    """A function (..., inputs) -> (..., outputs): a linear layer. A compiled step of one text computes it from panels,
    everything else as before."""

    def __init__(self, weight: Tensor) -> None:
        lanes = WIDTH // weight.element_size()
        self.shape = weight.shape
        self.blocks = weight.new_empty(-(-len(weight) // lanes), weight.shape[1], lanes)
        "(panels, inputs, lanes)"
        self.bias: Tensor | None = None
        self.plain: Callable[[Tensor], Tensor] | None = None

    def fits(self, weight: Tensor) -> bool:
        """Whether these can hold a weight."""
        return self.shape == weight.shape and self.blocks.dtype is weight.dtype and self.blocks.device == weight.device

    def fill(self, weight: Tensor) -> None:
        """Copy the weight (outputs, inputs)."""
        _, inputs, lanes = self.blocks.shape
        full, rest = divmod(len(weight), lanes)
        weight = weight.detach()
        self.blocks[:full].copy_(weight[: full * lanes].reshape(full, lanes, inputs).transpose(1, 2))
        self.blocks[full:, :, :rest] = weight[full * lanes :].T  # the lanes beyond are never read

    def __call__(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() or x.numel() != x.shape[-1]:
            assert self.plain is not None
            return self.plain(x)
        wide = sum_dtype(x.dtype)
        y = (buffered(x).view(-1, 1).to(wide) * self.blocks.to(wide)).sum(1).flatten()[: self.shape[0]]
        y = y.view(*x.shape[:-1], -1)
        return (y if self.bias is None else y + self.bias).to(x.dtype)


@contextlib.contextmanager
def in_panels(model: Packable) -> Iterator[None]:
    """Within the context, a compiled step of one text computes with the model's matrices in panels, if that is faster.

    The panels are filled on entering: changes to the weights within the context take effect after it. They stay in
    memory as long as the model, beside its weights.
    """
    found = products(model)
    if not pays([weight for _, _, weight, _ in found]):
        found = []
    for module, name, weight, bias in found:
        panels = _MADE.get(module)
        if panels is None or not panels.fits(weight):
            panels = _MADE[module] = Panels(weight)
        panels.fill(weight)
        panels.bias, panels.plain = bias, getattr(module, name)
        vars(module)[name] = panels
    try:
        yield
    finally:
        for module, name, _, _ in found:
            del vars(module)[name]
            _MADE[module].plain = None  # it refers to the layer, which would live as long as its panels
