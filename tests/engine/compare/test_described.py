"""Names, tags and notes of runs: recorded, shown, filtered by, and no difference between experiments."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt.engine.commands.compare import main
from microgpt.engine.commands.train import main as train
from microgpt.engine.compare.compare import summarise
from microgpt.errors import UsageError


@pytest.fixture
def runs(tiny: Callable[..., list[str]], tmp_path: Path) -> Path:
    for i, tags in enumerate(("[base,small]", "[small]")):
        words = [f"name=run{i}", f"tags={tags}", "notes='with a comma, and more'", f"seed={i}"]
        assert train(tiny(*words, "trainer.max_steps=1", f"hydra.run.dir={tmp_path / 'runs' / str(i)}")) == 0
    return tmp_path / "runs"


def test_names_tags_and_notes_are_shown_and_filtered_by(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (group,) = summarise([runs]).groups  # seeds of one experiment
    assert [run.name for run in group.runs] == ["run0", "run1"]
    capsys.readouterr()
    assert main([str(runs)]) == 0
    assert f"{runs}/0: run0  [base, small]  with a comma, and more" in capsys.readouterr().out
    for filtered in (["--tag", "base", "--tag", "small"], ["--name", "run0"]):
        assert main([str(runs), *filtered, "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["groups"]
        assert found["runs"] == [f"{runs}/0"]
        assert found["described"][f"{runs}/0"]["tags"] == ["base", "small"]
    with pytest.raises(UsageError, match="no run has bass in 2 runs; did you mean 'base'"):
        summarise([runs], tags=["bass"])
