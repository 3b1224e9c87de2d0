"""Rotary positions in a config.json, which several architectures have."""

from collections.abc import Iterator, Mapping
from typing import Any

from microgpt.model.config import GPTConfig
from microgpt.model.files.hf.family import typed
from microgpt.model.pos.rope import RoPEConfig


def read_rope(
    values: Mapping[str, Any], theta: str = "rope_theta", fraction: str = "partial_rotary_factor", share: float = 1.0
) -> tuple[dict[str, Any], list[str]]:
    """Our position scheme, and the fields, as `name=value`, that it cannot express.

    Args:
        theta: the key of the wavelengths' base in files older than transformers 5.
        fraction: the key of the share of a head that is rotated in such files.
        share: that share where no key says it.
    """
    rope = typed(values, "rope_parameters", dict, None) or typed(values, "rope_scaling", dict, None) or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    base = typed(rope, "rope_theta", float, None) or typed(values, theta, float, 10_000.0)
    part = typed(rope, "partial_rotary_factor", float, None) or typed(values, fraction, float, share)
    refused = [] if kind == "default" else [f"rope_type={kind}"]
    return {"name": "rope", "theta": base, "fraction": part}, refused


def write_rope(pos: RoPEConfig, is_whole: bool = True) -> dict[str, Any]:
    """The keys that transformers reads since version 5; `is_whole`: the architecture rotates whole heads alone."""
    fraction = {} if is_whole else {"partial_rotary_factor": pos.fraction}
    return {"rope_parameters": {"rope_type": "default", "rope_theta": pos.theta, **fraction}}


def rope_blockers(config: GPTConfig) -> Iterator[str]:
    """Yield the share of a head that is rotated, if it is not the whole."""
    if isinstance(config.pos, RoPEConfig) and config.pos.fraction != 1:
        yield f"pos.fraction={config.pos.fraction:g}"
