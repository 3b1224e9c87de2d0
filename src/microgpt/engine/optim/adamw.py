"""AdamW (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101), with torch's fused kernel."""

import torch

from microgpt.config import Fraction, Positive
from microgpt.engine.optim.base import NamedParameters, OptimConfig


class AdamWConfig(OptimConfig, name="adamw"):
    """AdamW with the defaults common for language models."""

    state_per_weight = 2

    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    "Decay rates of the running means of the gradient and its square."
    eps: Positive = 1e-8
    "Added to the denominator, the root of the running mean square."

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        groups = self.decay_groups(parameters)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)
