"""AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101), torch's fused one."""

import torch

from microgpt.config import Fraction, Positive
from microgpt.engine.optim.base import NamedParameters, OptimConfig


class AdamWConfig(OptimConfig, name="adamw"):
    """AdamW with the field's usual numbers."""

    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    "Decay of the running mean of the gradient and of its square."
    eps: Positive = 1e-8
    "Added to the root of the running mean square."

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        groups = self.decay_groups(parameters)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)
