"""A sweep trains each point once, one failure does not end it, and started again it does what is missing."""

import importlib
import importlib.util
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microgpt.engine.commands.train import main
from microgpt.engine.store.claim import claimed
from microgpt.engine.sweep import submitit_private
from microgpt.engine.sweep.points import Sweep, sweep_of
from microgpt.errors import MachineError

Tiny = Callable[..., list[str]]


@pytest.fixture
def swept(tiny: Tiny, tmp_path: Path) -> Callable[..., int]:
    """Run a sweep of tiny runs in `tmp_path/sweep`; returns the exit code."""

    def run(*more: str) -> int:
        fixed = [word for word in tiny() if not word.startswith("hydra.run.dir=")]
        return main(["-m", *fixed, "eval.every_n_steps=0", f"hydra.sweep.dir={tmp_path / 'sweep'}", *more])

    return run


def summaries(sweep: Path) -> list[dict[str, Any]]:
    """summary.json of each point that has one, in their order."""
    return [json.loads(path.read_text()) for path in sorted(sweep.glob("*/summary.json"))]


def test_each_point_with_its_devices_is_trained_once(
    swept: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swept("trainer.devices=2,1", "trainer.strategy=fsdp") == 0
    found = summaries(tmp_path / "sweep")
    assert [point["val/loss"] for point in found] == [pytest.approx(2.9, abs=1.0)] * 2
    assert [point["world_size"] for point in found] == [2, 1]
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()) == ["0", "1"]
    table, _ = capsys.readouterr().out.split("next:")
    assert "trainer.devices" in table.splitlines()[-4]


def test_what_to_do_next_is_said_once_of_a_sweep(
    swept: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert swept("seed=1,2", "trainer.max_steps=2") == 0
    out, scores = capsys.readouterr().out, [point["val/loss"] for point in summaries(tmp_path / "sweep")]
    best = tmp_path / "sweep" / str(scores.index(min(scores)))
    assert out.count("next:") == 1
    after = out.split("next:\n")[1]
    assert f"  microgpt-compare {tmp_path / 'sweep'} --figures figures\n" in after
    assert f"  microgpt-generate {best} " in after


def test_sweeps_started_together_have_a_folder_each(
    swept: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("seed=1", "trainer.max_steps=1", f"hydra.sweep.dir={tmp_path}/${{sweep_name:now}}")
    assert [swept(*words), swept(*words)] == [0, 0]
    assert [len(summaries(tmp_path / name)) for name in ("now", "now-2")] == [1, 1]
    capsys.readouterr()
    with claimed(tmp_path / "sweep"):
        assert swept("seed=1") == 2
    assert f"process {os.getpid()} on {socket.gethostname()} is training" in capsys.readouterr().err
    assert list((tmp_path / "sweep").iterdir()) == []


def test_a_failed_point_is_reported_and_repeated_alone(
    swept: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A file where the model's folder is to be: what fails at the end of one point.
    (tmp_path / "sweep" / "1").mkdir(parents=True)
    (tmp_path / "sweep" / "1" / "model").write_text("in the way")
    points = ("hydra/launcher=local", "seed=1,2,3")
    assert swept(*points) == 5
    out, errors = capfd.readouterr()
    assert "#0 seed=1: val/loss" in out
    assert "#1 seed=2: failed" in out
    assert "microgpt: error: point #1 seed=2: " in errors
    assert f"(run folder {tmp_path}/sweep/1)" in errors
    assert "1 of 3 points failed" in errors
    assert f"hydra.sweep.dir={tmp_path}/sweep" in errors
    (tmp_path / "sweep" / "1" / "model").unlink()
    before = {n: (tmp_path / "sweep" / n / "summary.json").stat().st_mtime_ns for n in "02"}
    assert swept(*points) == 0
    out, errors = capfd.readouterr()
    assert out.count("finished before") == 2
    assert out.count("started") == 1
    assert before == {n: (tmp_path / "sweep" / n / "summary.json").stat().st_mtime_ns for n in "02"}
    assert swept("hydra/launcher=local", "seed=4,5,6") == 4
    assert "the point there has other knobs (seed: 1 -> 4)" in capfd.readouterr().err


def test_a_search_finds_the_better_rate_and_replays_what_it_has_done(
    swept: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = ("hydra/sweeper=optuna", "optim.lr=choice(1e-5,0.02)", "model.n_embd=choice(12,24)")
    assert swept(*search, "hydra.sweeper.n_trials=3") == 0
    first = [point["val/loss"] for point in summaries(tmp_path / "sweep")]
    assert len(set(first)) > 1
    assert f"best of 3: val/loss {min(first):.4f} with optim.lr=" in capsys.readouterr().out
    paths = [tmp_path / "sweep" / n / "summary.json" for n in "012"]
    before = [path.stat().st_mtime_ns for path in paths]
    assert swept(*search, "hydra.sweeper.n_trials=4") == 0
    assert [point["val/loss"] for point in summaries(tmp_path / "sweep")][:3] == first
    assert before == [path.stat().st_mtime_ns for path in paths]  # the first three answered from their folders
    assert (tmp_path / "sweep" / "3" / "summary.json").is_file()


@pytest.mark.parametrize("word", ["hydra/launcher=slurm", "hydra/sweeper=optuna", "sweep.detach=true"])
def test_what_is_for_sweeps_is_refused_without_m(word: str, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny(word)) == 2
    assert "add -m" in capsys.readouterr().err


def test_an_array_has_one_shape(swept: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert swept("hydra/launcher=slurm", "trainer.devices=2,1") == 2
    assert "points of different trainer.num_nodes or trainer.devices" in capsys.readouterr().err
    assert swept("hydra/launcher=slurm", "trainer.devices=auto", "seed=1,2") == 2
    assert "does not tell SLURM how many" in capsys.readouterr().err


def test_a_launcher_finds_the_sweep_by_hydras_task_function() -> None:
    sweep = Sweep()
    assert sweep_of(sweep.train_point) is sweep
    with pytest.raises(TypeError, match="is not the method train_point of a Sweep"):
        sweep_of(print)


@pytest.mark.parametrize(("module", "name"), submitit_private.NAMES)
def test_a_name_of_submitit_that_is_gone_is_missed_by_name(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.delattr(importlib.import_module(module), name)
    with pytest.raises(MachineError, match=rf"submitit 1\.\d+\.\d+ has no {module}\.{name}, which microgpt") as error:
        submitit_private.slurm_executor(str(tmp_path), 1) if name == "AutoExecutor" else submitit_private.submit_again(
            len
        )
    assert error.value.fix == "pip install 'submitit>=1.5.3'"


def test_the_versions_of_submitit_are_those_that_the_package_asks_for() -> None:
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"submitit{submitit_private.CHECKED}"' in project


@pytest.mark.parametrize(("group", "package"), [("launcher=slurm", "submitit"), ("sweeper=optuna", "optuna")])
def test_a_missing_extra_is_named_before_a_sweep_folder_is_made(
    swept: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    group: str, package: str,
) -> None:  # fmt: skip
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    assert swept(f"hydra/{group}", "seed=1,2") == 5
    assert f"no package {package}; pip install 'microgpt[" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
