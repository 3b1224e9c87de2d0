"""Generate with int8 weights: each row of a matrix as integers of -127 to 127 and one float32 scale.

FBGEMM (https://arxiv.org/abs/2101.05615), which torch ships for x86, multiplies them with inputs rounded to 8 bits, 7
where the CPU has no VNNI and would overflow; each row of inputs has a scale of its own, so that a text does not depend
on those beside it. A compiled step takes the inputs as they are and multiplies the integers in a loop of its own.
Microseconds of one row on one core with AVX512-VNNI, for a matrix of outputs x inputs:

                     float32   bfloat16   int8
     1152 x  384          45         53     27
     3072 x  768         237        209     54
    50304 x  768       11757       8842   2150
"""

import math

import torch
from torch import Tensor

from microgpt.errors import MachineError, UsageError
from microgpt.model.kernels import hardware, torch_private
from microgpt.model.kernels.linear import Linear, products_as_sums
from microgpt.model.kernels.packed import Packable

LARGEST = 127
"""The largest integer of a weight."""


def quantize(model: Packable) -> None:
    """Compute a model's linear layers and its head with int8 weights from now on. Embeddings stay as they are.

    The float weights stay too: whatever reads them, such as an export, finds them exact.

    Raises:
        MachineError: the machine has no fast int8 products.
    """
    device = model.wte.weight.device.type
    if device != "cpu" or not torch_private.has_fbgemm():
        where = "this machine" if device == "cpu" else f"device {device}"
        raise MachineError("int8 weights need an x86 CPU", where, "take --device cpu there, or leave int8 out")
    for layer in model.modules():
        if isinstance(layer, Linear):
            vars(layer)["forward"] = Int8Product(layer.weight, layer.bias)
    if model.head is None:
        vars(model)["project"] = Int8Product(model.wte.weight)


def is_quantized(model: Packable) -> bool:
    """Whether `quantize` has been called for this model."""
    places = [(model, "project"), *((layer, "forward") for layer in model.modules() if isinstance(layer, Linear))]
    return any(isinstance(vars(module).get(name), Int8Product) for module, name in places)


class Int8Product:
    """A function (..., inputs) -> (..., outputs): a linear layer with this weight (outputs, inputs) in int8."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        wide = weight.detach().float()
        scale = wide.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny * LARGEST) / LARGEST
        integers = (wide / scale[:, None]).round().to(torch.int8)
        self.packed = torch_private.pack_int8(integers, scale)
        self.integers, self.scale = integers, scale
        "What a compiled step multiplies with."
        self.bias = None if bias is None else bias.detach().float()
        self.levels = 127 if hardware.of("cpu").has_vnni else 63

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise UsageError("int8 weights cannot be trained", "this model", "load it again without weights='int8'")
        if torch.compiler.is_compiling():
            y = products_as_sums(x, self.integers) * self.scale
        elif x.numel() == x.shape[-1]:
            y = self.one_row(x.float())
        else:
            y = self.rows(x.float())
        return (y if self.bias is None else y + self.bias).to(x.dtype)

    def one_row(self, x: Tensor) -> Tensor:
        """The product with one row, whose scale is a number."""
        largest = float(torch.linalg.vector_norm(x, math.inf)) or 1.0
        return torch_private.int8_product(x, largest / self.levels, self.levels + 1, self.packed)

    def rows(self, x: Tensor) -> Tensor:
        """The product with many rows, brought to one scale before and to their own after."""
        largest: Tensor = torch.linalg.vector_norm(x, math.inf, dim=-1, keepdim=True)
        largest = largest.clamp_min(torch.finfo(x.dtype).tiny)
        y: Tensor = torch_private.int8_product(x / largest, 1 / self.levels, self.levels + 1, self.packed)
        return y * largest
