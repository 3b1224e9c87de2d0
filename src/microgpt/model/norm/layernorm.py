"""Layer normalisation (Ba et al., https://arxiv.org/abs/1607.06450)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microgpt.model.norm.base import NormConfig


class LayerNormConfig(NormConfig, name="layernorm"):
    """Subtract the mean and divide by the standard deviation."""

    def build(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> "LayerNorm":
        return LayerNorm(width, eps, has_gain, has_shift)


class LayerNorm(nn.Module):
    """(x - mean(x)) / sqrt(var(x) + eps), times the gain, plus the shift. Either is optional, unlike in torch's."""

    def __init__(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if has_gain else None
        self.bias = nn.Parameter(torch.zeros(width)) if has_shift else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
