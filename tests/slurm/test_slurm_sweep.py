"""A sweep as an array of jobs on a real SLURM: every point once, a failure reported, the missing ones repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mini_slurm import MiniSlurm

from microgpt.engine.commands.train import main
from microgpt.engine.store.launch_file import LAUNCH

pytestmark = pytest.mark.slurm


@pytest.fixture
def swept(
    cluster: MiniSlurm, tmp_path: Path, tiny: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """Run a sweep of tiny runs in `tmp_path/sweep` on the cluster; returns the exit code."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster.env[name])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "src"))

    def run(*more: str) -> int:
        fixed = [word for word in tiny() if not word.startswith("hydra.run.dir=")]
        return main(["-m", "hydra/launcher=slurm", *fixed, f"hydra.sweep.dir={tmp_path / 'sweep'}", *more])

    return run


def test_an_array_trains_each_point_and_the_second_start_what_is_missing(
    cluster: MiniSlurm, swept: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    # A file where the model's folder is to be: what fails at the end of one point.
    (sweep / "1").mkdir(parents=True)
    (sweep / "1" / "model").write_text("in the way")
    assert swept("seed=1,2,3") == 5
    out, errors = capfd.readouterr()
    array = next(line.split("job ")[1].split("_")[0] for line in out.splitlines() if line.startswith("#0 seed=1: job"))
    assert [cluster.wait(f"{array}_{n}") for n in range(3)] == ["COMPLETED"] * 3
    assert "microgpt: error: point #1 seed=2: " in errors
    assert f"(run folder {sweep}/1)" in errors
    assert "1 of 3 points failed" in errors
    assert [(sweep / n / "summary.json").is_file() for n in "012"] == [True, False, True]
    assert "val/loss" in out  # the table
    (sweep / "1" / "model").unlink()
    before = {n: (sweep / n / "summary.json").stat().st_mtime_ns for n in "02"}
    with cluster.paused():
        assert swept("seed=1,2,3", "sweep.detach=true") == 0
        out = capfd.readouterr().out
        assert swept("seed=1,2,3") == 2  # while it is queued
        errors = capfd.readouterr().err
    assert out.count("finished before") == 2
    job = next(line.split("job ")[1].split(",")[0] for line in out.splitlines() if line.startswith("#1 seed=2: job"))
    assert f"follow: squeue -j {job}" in out
    assert f"in job {job}; wait for them, or scancel them" in errors
    assert cluster.wait(job, timeout=90) == "COMPLETED"
    assert (sweep / "1" / "summary.json").is_file()
    assert before == {n: (sweep / n / "summary.json").stat().st_mtime_ns for n in "02"}
    assert b'"detach": true' in (sweep / "1" / LAUNCH).read_bytes()  # what was submitted is what was trained
    assert swept("seed=1,2,3") == 0
    assert capfd.readouterr().out.count("finished before") == 3


def test_what_slurm_refuses_is_one_clear_line(
    swept: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert swept("seed=1,2", "hydra.launcher.partition=nowhere") == 5
    errors = capfd.readouterr().err
    assert "microgpt: error: SLURM takes no jobs (" in errors
    assert "invalid partition specified: nowhere" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "sweep" / "0").exists()  # no folder of a run that has not begun
