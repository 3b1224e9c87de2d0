"""The feed-forward half of a block."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from microgpt.model.config import GPTConfig
from microgpt.model.kernels.linear import Linear


def _relu2(x: Tensor) -> Tensor:
    """Squared ReLU (So et al., https://arxiv.org/abs/2109.08668)."""
    if torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
        y: Tensor = TrainedSquaredReLU.apply(x)[0]  # type: ignore[no-untyped-call]
        return y
    x = F.relu(x)
    return x * x


class TrainedSquaredReLU(torch.autograd.Function):
    """The gradient of relu(x)^2, 2 relu(x), in one pass over memory instead of four."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(x)
        return x * x, x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # else zeros are made for what has none
        ctx.save_for_backward(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.addcmul(grad.new_zeros(()), grad, x, value=2)


def _gelu_tanh(x: Tensor) -> Tensor:
    """GPT-2's approximation of GELU (https://arxiv.org/abs/1606.08415)."""
    return F.gelu(x, approximate="tanh")


def _swiglu(x: Tensor) -> Tensor:
    """SiLU of one half times the other (Shazeer, https://arxiv.org/abs/2002.05202)."""
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu2": _relu2,
    "swiglu": _swiglu,
}


class MLP(nn.Module):
    """Widen, activate, narrow. A gated activation takes twice its width, gate and value in one matrix."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.mlp]
        widened = config.hidden * (2 if config.mlp == "swiglu" else 1)
        self.widen = Linear(config.n_embd, widened, bias=config.bias)
        self.out = Linear(config.hidden, config.n_embd, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.activation(self.widen(x)))
        return F.dropout(y, self.dropout) if self.dropout and self.training else y
