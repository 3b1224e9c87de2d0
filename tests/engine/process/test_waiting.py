"""Threads give way early on a busy machine, and only the user's own setting is left alone."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import train
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.fit.callbacks.metrics import Slowdown
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.length import will_compile
from microgpt.engine.process import waiting
from microgpt.model.generation.compiled import can_compile

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="how Linux counts")


@on_linux
def test_what_others_do_is_told_from_what_this_process_does() -> None:
    load = waiting.Load()
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        pass
    own = load.others()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        load = waiting.Load()
        time.sleep(0.5)
        with_another = load.others()
        busy.kill()
    assert own is not None
    assert with_another is not None
    assert with_another > 0.2
    if own < 0.3:  # nobody else was busy
        assert with_another > own + 0.2


@on_linux
def test_too_short_a_look_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waiting.Load().others(watch=False) is None
    monkeypatch.setattr(waiting, "_reading", lambda: None)
    assert waiting.Load().others() is None


@pytest.mark.parametrize(("others", "expected"), [(1.9, "100"), (0.2, None), (None, None)])
def test_threads_give_way_where_others_are_busy(
    monkeypatch: pytest.MonkeyPatch, others: float | None, expected: str | None
) -> None:
    load = waiting.Load()
    monkeypatch.setattr(load, "others", lambda watch: others)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "torch")
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    environ = dict(os.environ)
    monkeypatch.setattr(os, "environ", environ)
    waiting.give_way_if_busy(load)
    assert environ.get("GOMP_SPINCOUNT") == expected
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        environ.pop("GOMP_SPINCOUNT", None)
        environ[name] = "active"
        waiting.give_way_if_busy(load)
        assert environ.pop(name) == "active"
        assert "GOMP_SPINCOUNT" not in environ


def test_steps_that_become_several_times_slower_are_said_once() -> None:
    slowdown = Slowdown()
    said = [slowdown.add(10, seconds) for seconds in (6, 4, 2, 6, 8.9, 9.5, 50, 6, 60)]
    assert [None if times is None else round(times, 2) for times in said] == [None] * 5 + [3.17] + [None] * 3


def test_how_threads_wait_changes_no_bit_and_resume_keeps_their_number(
    tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    def start(run: str, spins: dict[str, str], *words: str) -> str:
        knobs = {word.split("=")[0]: word for word in (*tiny(), *words, f"hydra.run.dir={run}")}
        command = [sys.executable, "-m", "microgpt.engine.commands.train", *knobs.values()]
        subprocess.run(command, env={**os.environ, **spins}, cwd=tmp_path, check=True, capture_output=True)
        return hashlib.sha256((tmp_path / run / "model" / "model.safetensors").read_bytes()).hexdigest()

    wide = ("model.n_embd=192", "optim=muon", "optim.schedule=constant", "optim.warmup_steps=0")
    whole = start("whole", {}, *wide, "trainer.threads=2")
    start("parts", {"GOMP_SPINCOUNT": "100"}, *wide, "trainer.threads=2", "trainer.max_steps=3")
    assert start("parts", {"GOMP_SPINCOUNT": "0"}, *wide) == whole  # OMP_NUM_THREADS is 1 here
    assert '"threads": 2' in (tmp_path / "parts" / "summary.json").read_text()


def test_whether_to_compile_depends_on_the_kind_of_machine_and_never_on_a_timing(
    tiny: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> float:
        raise AssertionError("a measured peak was asked for")

    monkeypatch.setattr(machine, "peak_flops", busy)
    config = compose_run(tiny()).config
    found = [will_compile("auto", config, steps, 1e6, "cpu", "32-true") for steps in (10, 10**9)]
    assert found == [False, can_compile("cpu")]


def test_a_busy_machine_is_said_in_cores() -> None:
    assert waiting.busy_text(1.72) == f"other processes keep 1.7 of {os.cpu_count()} cores busy"
    assert waiting.busy_text(0.3) == waiting.busy_text(None) == ""


@pytest.mark.parametrize(("others", "is_said"), [(1.7, True), (0.1, False), (None, False)])
def test_a_plan_on_a_busy_machine_says_that_it_cannot_predict(
    tiny: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    others: float | None, is_said: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(waiting.Load, "others", lambda self, watch=True: others)
    train(tiny("plan=true"))
    said = "other processes keep 1.7 of" in capsys.readouterr().out
    assert said is is_said
