"""Stochastic gradient descent with momentum (Sutskever et al., ICML 2013)."""

import torch

from microgpt.config import Fraction
from microgpt.engine.optim.base import NamedParameters, OptimConfig


class SGDConfig(OptimConfig, name="sgd"):
    """SGD. Use about 100 times AdamW's learning rate."""

    momentum: Fraction = 0.9
    "Share of the momentum kept at each update."
    nesterov: bool = True
    "Use Nesterov momentum."

    def build(self, parameters: NamedParameters) -> torch.optim.Optimizer:
        nesterov = self.nesterov and self.momentum > 0
        groups = self.decay_groups(parameters)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=True)
