"""Normalisation of the residual stream, through torch's native kernels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microgpt.model.config import GPTConfig


class Norm(nn.Module):
    """RMSNorm (https://arxiv.org/abs/1910.07467) or LayerNorm (https://arxiv.org/abs/1607.06450) over the last
    dimension, with or without a gain and a shift."""

    def __init__(self, width: int, config: GPTConfig) -> None:
        super().__init__()
        self.is_rms, self.shape, self.eps = config.norm == "rmsnorm", (width,), config.norm_eps
        has_shift = config.norm_affine and config.bias and not self.is_rms
        self.weight = nn.Parameter(torch.ones(width)) if config.norm_affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if has_shift else None

    def forward(self, x: Tensor) -> Tensor:
        if self.is_rms:
            return F.rms_norm(x, self.shape, self.weight, self.eps)
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)
