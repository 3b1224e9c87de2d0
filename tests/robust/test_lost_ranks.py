"""A rank that is killed or stopped ends the run with one line that names it, and the run can go on."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import campaign_rig
from microgpt.engine.fit import ranks
from microgpt.engine.process import heartbeat, launch
from microgpt.engine.process.stopping import newest_step

NAMES = {signal.SIGKILL: "was killed by SIGKILL", signal.SIGSTOP: "is stopped or gone: no sign of life for 3 s"}


@contextlib.contextmanager
def training(folder: Path, *knobs: str) -> Iterator["subprocess.Popen[str]"]:
    """A run with two ranks on this CPU, by the command; ended, with its ranks, after the block."""
    words = [*campaign_rig.TINY, f"data.path={folder / 'text.txt'}", f"hydra.run.dir={folder / 'run'}"]
    words += ["trainer.devices=2", "trainer.accelerator=cpu", "checkpoint.every_n_steps=5", *knobs]
    command = [sys.executable, "-m", "microgpt.engine.commands.train", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()


def rank_1(process: "subprocess.Popen[str]") -> int:
    """The process of rank 1."""
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child.pid for child in children if child.environ().get("RANK") == "1")


@pytest.mark.slow
def test_a_killed_rank_and_a_stopped_one_are_named_and_the_run_goes_on(tmp_path: Path) -> None:
    campaign_rig.write_text(tmp_path / "text.txt")
    saved = 0
    for number, said in NAMES.items():
        with training(
            tmp_path, "trainer.max_steps=100000", "optim.schedule=constant", "trainer.rank_timeout=3"
        ) as process:
            while newest_step(tmp_path / "run") <= saved:
                assert process.poll() is None, process.communicate()
                time.sleep(0.1)
            os.kill(rank_1(process), number)
            began = time.monotonic()
            _, errors = process.communicate(timeout=120)
            seconds = time.monotonic() - began
        assert process.returncode == 5, errors
        assert errors.startswith(f"microgpt: error: rank 1 {said}"), errors
        assert len(errors.splitlines()) == 1, errors
        saved = newest_step(tmp_path / "run")
        assert f"to go on from step {saved}" in errors
        assert seconds < 60, "it has waited for ever"  # 3 s where nothing else runs
        assert not list((tmp_path / "run").glob(".alive-*"))
    with training(tmp_path, f"trainer.max_steps={saved + 3}", "optim.schedule=constant") as process:
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert errors.startswith("warning: 100000 steps were planned and "), errors
    assert len(errors.splitlines()) == 1, errors
    assert f"from step {saved} it continues" in output
    assert newest_step(tmp_path / "run") == saved + 3


def test_a_rank_counts_as_silent_by_the_watcher_s_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock[0])  # type: ignore[attr-defined]
    stale = heartbeat.beat_file(tmp_path, 2)
    stale.touch()  # a leftover of an earlier run
    watch = heartbeat.Watch(tmp_path, 3, timeout=10)

    def at(seconds: float, *beats: int) -> list[int]:
        clock[0] = 100.0 + seconds
        for rank in beats:
            os.utime(heartbeat.beat_file(tmp_path, rank), ns=(int(clock[0] * 1e9),) * 2)
        return watch.silent()

    for rank in (0, 1):
        heartbeat.beat_file(tmp_path, rank).touch()
    assert at(1) == []
    for second in range(2, 11):
        assert at(second, 0) == []
    assert at(11.5, 0) == [1]  # last seen at 1; rank 2 has not begun
    assert at(12, 0, 1) == []
    assert at(200) == []  # the machine slept
    assert [at(second, 0) for second in (204, 208, 211)] == [[], [], [1]]


def test_signs_of_life_come_while_the_main_thread_waits_and_end_with_the_block(tmp_path: Path) -> None:
    looked: list[float] = []
    file = heartbeat.beat_file(tmp_path, 4)
    with heartbeat.beating(tmp_path, 4, 0.05, lambda: looked.append(file.stat().st_mtime_ns)):
        deadline = time.monotonic() + 20
        while len(set(looked)) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(set(looked)) >= 3
    assert not file.exists()
    assert heartbeat.beat_seconds(300) == 5
    assert heartbeat.beat_seconds(1) == 0.2


@pytest.mark.parametrize(
    ("codes", "first"),
    [
        (["import os; os.kill(os.getpid(), 9)", "import time; time.sleep(0.6); raise SystemExit(5)"], 0),
        (["raise SystemExit(5)", "import os; os.kill(os.getpid(), 9)"], 1),  # it lost its peer
        (["import os; os.abort()", "import os; os.kill(os.getpid(), 9)"], 1),
        (["pass", "raise SystemExit(3)"], 1),
        (["pass", "pass"], None),
    ],
)
def test_the_rank_that_failed_first_is_the_one_that_others_lost(
    codes: list[str], first: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "GRACE", 5.0)
    with launch.processes() as started:
        for code in codes:
            started.append(subprocess.Popen([sys.executable, "-S", "-c", code]))
        assert launch.wait_together(started) == first


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_only_errors_of_the_network_count_as_a_lost_rank(error: Exception, is_lost: bool) -> None:
    assert ranks.is_lost_contact(error) is is_lost
