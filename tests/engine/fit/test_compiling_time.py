"""The time that compiling takes is said, and is part of no speed, no remaining time and no seconds of training."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt import train
from microgpt.engine.fit.callbacks.metrics import Clock
from microgpt.engine.process.progress import Progress
from microgpt.engine.store.metrics_file import read_curves

Tiny = Callable[..., list[str]]
COMPILING = 3.0


@pytest.fixture
def slow_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler whose first call takes three seconds; the code that it makes is the code that it was given."""

    def compiler(forward: Callable[..., Any], mode: str) -> Callable[..., Any]:
        calls = []  # type: ignore[var-annotated]

        def compiled(*arguments: Any) -> Any:
            if not calls:
                time.sleep(COMPILING)
            calls.append(1)
            return forward(*arguments)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)


@pytest.mark.usefixtures("slow_to_compile")
def test_compiling_is_said_and_left_out_of_speed_and_seconds(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.perf_counter()
    run = train(tiny("trainer.compile=true", "trainer.max_steps=40", "trainer.progress=lines", "eval.every_n_steps=0"))
    whole = time.perf_counter() - began
    assert run is not None
    out = capsys.readouterr().out
    first = out.index("compiling the model")
    assert first < out.index("compiled in ") < out.index("step 1/40")
    assert "tokens/s" not in next(line for line in out.splitlines() if line.startswith("step 1/40"))
    curves = read_curves(tmp_path / "run" / "metrics.csv")
    assert curves["perf/tokens_per_second"][0][0] == 2
    assert curves["train/loss"][0][0] == 1
    assert run.summary["compile_seconds"] >= COMPILING
    assert 0 < run.summary["train_seconds"] < whole - COMPILING
    assert curves["seconds"][-1][1] < whole - COMPILING


@pytest.mark.usefixtures("slow_to_compile")
def test_a_run_of_the_compiling_step_alone_has_its_seconds(tiny: Tiny) -> None:
    run = train(tiny("trainer.compile=true", "trainer.max_steps=1"))
    assert run is not None
    assert COMPILING <= run.summary["train_seconds"] < COMPILING + 2


def test_an_eager_run_says_nothing_of_compiling(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(tiny("trainer.progress=lines"))
    assert run is not None
    assert "compil" not in capsys.readouterr().out
    assert run.summary["compile_seconds"] == 0


def test_the_bar_begins_anew_when_compiling_ends() -> None:
    progress = Progress("bar", 100, 64)
    progress.start(0)
    try:
        progress.compiling()
        (task,) = progress._bar.tasks
        assert task.description == "compiling"
        began = task.start_time
        time.sleep(0.05)
        progress.compiled(1, 60.0)
        assert task.description == "training"
        assert task.completed == 1
        assert task.start_time > began
        assert task.speed is None  # so that no time left is reckoned from the first step
    finally:
        progress.stop()


def test_a_clock_set_back_goes_on_from_there() -> None:
    clock = Clock()
    clock.seconds = 5.0
    clock.start()
    time.sleep(0.05)
    assert clock.leave_out(5.0) >= 0.05
    assert 5.0 <= clock.read() < 5.05
