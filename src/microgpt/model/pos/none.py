"""No positions: a causal model can still count the tokens it sees (Haviv et al., https://arxiv.org/abs/2203.16634)."""

from microgpt.model.pos.base import PositionConfig


class NoPositionConfig(PositionConfig, name="none"):
    """NoPE: only the causal mask reveals the order."""
