"""No position at all: a causal model can still count what it sees (Haviv et al., https://arxiv.org/abs/2203.16634)."""

from microgpt.model.pos.base import PositionConfig


class NoPositionConfig(PositionConfig, name="none"):
    """NoPE: order is known from the causal mask alone."""
