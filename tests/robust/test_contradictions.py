"""Random command lines: what is typed counts, or the error names what contradicts it."""

from pathlib import Path

import pytest

import campaign_conflicts
from microgpt.engine.compose.conflicts import CONFLICTS


def test_random_command_lines_hold_what_is_typed_or_say_why_not(tmp_path: Path) -> None:
    figures = campaign_conflicts.conflicts(tmp_path, 40)
    assert figures["passed"]
    assert figures["command lines"] == 40
    assert 0 < figures["refused"] < 20


def test_a_value_that_is_not_what_was_typed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign_conflicts, "flatten", lambda tree: dict.fromkeys(campaign_conflicts.KNOBS, "else"))
    figures = campaign_conflicts.conflicts(tmp_path, 5)
    assert figures["faults"] > 0
    assert not figures["passed"]


def test_an_error_must_name_a_typed_knob() -> None:
    pair = CONFLICTS[0]
    error = f"{pair.loser}: {pair.winner} decides"
    assert campaign_conflicts.explained(error, {pair.loser: 1})
    assert not campaign_conflicts.explained(error, {"seed": 1})
    assert not campaign_conflicts.explained("something is wrong", {pair.loser: 1})
