"""No normalisation: for comparison, or for initialisations that do without (https://arxiv.org/abs/1901.09321)."""

from torch import nn

from microgpt.model.norm.base import NormConfig


class NoNormConfig(NormConfig, name="none"):
    """Leave the tokens as they are."""

    def build(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> nn.Identity:
        return nn.Identity()
