"""What a knob decides is said where it is declared, and whoever compares configurations asks there."""

import math
import re
from typing import Annotated, Any

import pytest

from microgpt.config import COURSE, MACHINE, START, Config, ConfigError, Count, fields, marked
from microgpt.engine import config as module
from microgpt.engine.compare.runs import IGNORED
from microgpt.engine.config import RunConfig, flatten, science_differences


def changed(tree: dict[str, Any], path: str) -> dict[str, Any]:
    """The tree with another value at a dotted path, whatever it is."""
    key, _, rest = path.partition(".")
    return {**tree, key: changed(tree[key], rest) if rest else "another"}


def test_marked_knobs_may_change_on_resume_and_no_others() -> None:
    tree = RunConfig().to_dict()
    marks = marked(RunConfig)
    for knob in flatten(tree):
        is_free = any(f"{knob}.".startswith(f"{mark}.") for mark in marks)
        assert bool(science_differences(tree, changed(tree, knob))) != is_free, knob
    assert marks["trainer.devices"] is MACHINE
    assert marks["eval"] is COURSE
    assert marks["resume"] is START
    assert not {"seed", "data.batch_size", "model", "optim", "trainer.gradient_clip_val"} & marks.keys()


def test_a_new_machine_knob_needs_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(Config):
        fast: Annotated[Count, MACHINE] = 1
        wide: Count = 1

    class Root(Config):
        inner: Inner = Inner()

    monkeypatch.setattr(module, "RunConfig", Root)
    assert science_differences({"inner": {"fast": 1, "wide": 1}}, {"inner": {"fast": 2, "wide": 3}}) == [
        "inner.wide: 1 -> 3"
    ]


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


def float_knobs() -> list[tuple[type[Config], str]]:
    """Every knob of every part that takes a float, alone or in a list."""
    todo, found = Config.__subclasses__(), []
    for cls in todo:
        todo += cls.__subclasses__()
        if not cls.__module__.startswith("microgpt."):
            continue
        found += [(cls, key) for key, annotation in fields(cls).items() if re.search(r"\bfloat\b", str(annotation))]
    return found


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_no_float_knob_takes_a_number_that_is_not_finite(value: float) -> None:
    knobs = float_knobs()
    assert len(knobs) > 25
    assert {"lr", "theta", "betas", "max_epochs", "top_p", "minutes"} <= {key for _, key in knobs}
    for cls, key in knobs:
        is_list = "tuple" in str(fields(cls)[key])
        with pytest.raises(ConfigError) as error:
            cls(**{key: [0.5, value] if is_list else value})
        (fault,) = error.value.faults
        assert fault.what == f"{value!r} is not a finite number", (cls, key)


def test_a_comparison_ignores_the_seed_and_what_is_marked_as_the_start() -> None:
    started = {path for path, mark in marked(RunConfig).items() if mark is START}
    assert set(IGNORED) == started | {"seed", "hydra"}
