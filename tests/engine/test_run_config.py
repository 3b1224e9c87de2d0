"""What a knob decides is said where it is declared, and whoever compares configurations asks there."""

from typing import Annotated, Any

import pytest

from microgpt.config import COURSE, MACHINE, Config, Count, marked
from microgpt.engine import config as module
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
