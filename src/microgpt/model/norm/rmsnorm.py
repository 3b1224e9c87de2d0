"""Root mean square layer normalisation (Zhang and Sennrich, https://arxiv.org/abs/1910.07467)."""

import torch
from torch import Tensor, nn

from microgpt.model.kernels.rms_norm import rms_norm
from microgpt.model.norm.base import NormConfig


class RMSNormConfig(NormConfig, name="rmsnorm"):
    """Divide by the root mean square. It never has a shift."""

    def build(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> "RMSNorm":
        return RMSNorm(width, eps, has_gain)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps), times the gain."""

    def __init__(self, width: int, eps: float, has_gain: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if has_gain else None

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)
