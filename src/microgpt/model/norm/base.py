"""Base class of the norms: a config that joins the family by its name and builds a module.

A new norm is one file beside this one, or a file of your own that `imports=[my_norm.py]` names:

    class MyNormConfig(NormConfig, name="mine"):
        def build(self, width, eps, has_gain, has_shift):
            return MyNorm(width, eps)

Imports only torch and `microgpt.registry`.
"""

from torch import nn

from microgpt.registry import Choice


class NormConfig(Choice, family="norm", is_word=True):
    """The knobs of a norm; a subclass with `name=` adds a norm."""

    def build(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> nn.Module:
        """A module (..., width) -> (..., width) that normalises each token by itself.

        Args:
            eps: added to the variance before the square root (`model.norm_eps`).
            has_gain: whether to multiply the result by a learned weight that starts at one (`model.norm_affine`).
            has_shift: whether to add a learned bias that starts at zero, if the norm has one (with `model.bias`).
        """
        raise TypeError(f"{type(self).__name__} builds no norm")
