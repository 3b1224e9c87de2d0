"""What a resumed run compares: the knobs that say what is learnt, and those alone."""

from typing import Any

from microgpt.engine.config import RunConfig, science_differences


def old_config() -> dict[str, Any]:
    """A config as it was written before norms had a place and parts were families."""
    values = RunConfig().to_dict()
    del values["model"]["norm_place"]
    assert (values["model"]["norm"], values["model"]["mlp"]) == ("rmsnorm", "gelu")
    return values


def test_a_knob_that_did_not_exist_yet_counts_as_its_default() -> None:
    assert science_differences(old_config(), RunConfig().to_dict()) == []
    now = RunConfig.from_dict({"model": {"norm_place": "post"}}).to_dict()
    assert science_differences(old_config(), now) == ["model.norm_place: pre -> post"]


def test_parts_are_compared_with_their_knobs() -> None:
    now = RunConfig.from_dict({"model": {"norm": "layernorm", "pos": {"name": "rope", "theta": 5.0}}}).to_dict()
    assert science_differences(old_config(), now) == [
        "model.norm: rmsnorm -> layernorm",
        "model.pos.theta: 10000.0 -> 5.0",
    ]


def test_a_config_that_cannot_be_read_is_compared_as_it_stands() -> None:
    old = old_config() | {"optimiser": "adam"}
    assert "optimiser: adam -> None" in science_differences(old, RunConfig().to_dict())
