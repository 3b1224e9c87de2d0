"""Signals: the right exit code, nothing lost, and advice that can be typed as it stands."""

import contextlib
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import campaign_kills
import campaign_rig
from microgpt import train
from microgpt.engine import checkpoint, signals
from microgpt.engine.callbacks.save import Save
from microgpt.engine.commands import common
from microgpt.engine.commands import train as command
from microgpt.engine.resume import resume_command

Tiny = Callable[..., list[str]]


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None], method: str = "on_step_end") -> None:
    """Call `act` just before the saving callback is told of a step, once."""
    told, done = getattr(Save, method), []

    def tell(self: Save, trainer: Any, module: Any, now: int) -> None:
        if now == step and not done:
            done.append(now)
            act()
        told(self, trainer, module, now)

    monkeypatch.setattr(Save, method, tell)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_signal_saves_and_leaves_with_128_plus_its_number(
    name: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    number = getattr(signal, name)
    handlers = [signal.getsignal(s) for s in signals.SIGNALS]
    at_step(monkeypatch, 4, lambda: os.kill(os.getpid(), number))
    arguments = tiny("model.dropout=0.1", "trainer.micro_batch_size=2")
    assert command.main(arguments) == 128 + number
    assert [signal.getsignal(s) for s in signals.SIGNALS] == handlers
    out, err = capfd.readouterr()
    assert f"microgpt: stopped by {name}" in err
    advice = next(line for line in out.splitlines() if "go on with: " in line)
    assert advice.startswith("saved at step 4; ")
    words = shlex.split(advice.split("with: ")[1])
    assert words[0] == "microgpt-train"
    assert command.main(words[1:]) == 0
    assert command.main([*arguments, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    assert campaign_rig.identity(tmp_path / "run") == campaign_rig.identity(tmp_path / "whole")


def test_an_evaluation_gives_way_and_is_done_after_resuming(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microgpt.engine.callbacks.evaluate import Evaluate

    score = Evaluate._score

    def stopped(self: Evaluate, *args: Any) -> None:
        if not signals.received():
            os.kill(os.getpid(), signal.SIGTERM)
        score(self, *args)

    whole = train(tiny(f"hydra.run.dir={tmp_path / 'whole'}"))
    for step in (3, 6):
        with monkeypatch.context() as patch:
            patch.setattr(Evaluate, "_score", stopped)
            assert command.main(tiny()) == 128 + signal.SIGTERM
        newest = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[0]
        assert newest.name == checkpoint.step_name(step)
        assert checkpoint.read(newest)[1]["callbacks"]["Evaluate"]["evaluated_step"] < step
        if step == 3:  # it goes on to the next evaluation
            at_step(monkeypatch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
            assert command.main(tiny()) == 128 + signal.SIGTERM
            state = checkpoint.read(checkpoint.checkpoints(newest.parent)[0])[1]
            assert state["callbacks"]["Evaluate"]["best_step"] == 3
    run = train(tiny())
    assert run is not None
    assert whole is not None
    assert run.summary["val/loss"] == whole.summary["val/loss"]


def test_a_signal_before_the_first_step_leaves_at_once(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from microgpt.engine.module import GPTModule

    monkeypatch.setattr(GPTModule, "training_step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert command.main(tiny()) == 130
    assert "nothing to save; start with: microgpt-train data.path=" in capsys.readouterr().out
    assert not checkpoint.checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.parametrize("phase", ["compose_run", "prepare", "GPTModule", "build_trainer", "closing_words", "load"])
def test_ctrl_c_in_every_phase_is_130_and_the_run_can_go_on(
    phase: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import microgpt.engine.train as engine

    with monkeypatch.context() as patch:
        patch.setattr(engine, phase, lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        assert command.main(tiny()) == 130
    assert command.main(tiny()) == 0
    assert (tmp_path / "run" / "summary.json").is_file()


def test_a_second_ctrl_c_leaves_at_once_and_a_second_sigterm_does_not(tmp_path: Path) -> None:
    text = campaign_rig.write_text(tmp_path / "text.txt")
    run = campaign_rig.composed(text)

    def twice(number: int) -> None:
        told = Save.on_step_end

        def tell(self: Save, trainer: Any, module: Any, step: int) -> None:
            if step == 6:
                os.kill(os.getpid(), number)
                os.kill(os.getpid(), number)
            told(self, trainer, module, step)

        Save.on_step_end = tell  # type: ignore[method-assign]  # in a fork of its own

    def work(number: int) -> int:
        twice(number)
        return campaign_rig.train(run, tmp_path / f"run-{number}")

    for number, saved in ((signal.SIGINT, 4), (signal.SIGTERM, 6)):
        assert campaign_rig.ended(campaign_rig.forked(lambda n=number: work(n))) == 128 + number
        assert campaign_rig.newest_step(tmp_path / f"run-{number}") == saved


@pytest.mark.slow
def test_signals_at_random_instants_leave_the_same_bits(tmp_path: Path) -> None:
    figures = campaign_kills.signals(tmp_path, 5)
    assert figures["passed"], figures


def test_the_advice_quotes_what_a_shell_or_hydra_would_take_apart() -> None:
    words = ["--config-dir", "my conf", "data.path=a b.txt", "hydra.run.dir=old", "resume=never"]
    command = resume_command(words, Path("it's, (here)/run"))
    assert shlex.split(command) == ["microgpt-train", "--config-dir", "my conf", "data.path=a b.txt",
                                    "hydra.run.dir='it\\'s, (here)/run'"]  # fmt: skip
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(shlex.split(command)[-1])
    assert parsed.value() == "it's, (here)/run"


def test_a_signal_that_python_swallowed_still_ends_the_command() -> None:
    def swallows(_: list[str]) -> None:
        with contextlib.suppress(signals.Stopped):
            os.kill(os.getpid(), signal.SIGTERM)

    assert common.run(swallows, []) == 143


def test_an_error_that_foreign_code_made_of_a_signal_is_still_the_signal() -> None:
    """As safetensors does when a signal arrives while it builds a tensor."""

    def foreign(arguments: list[str]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
        except BaseException:
            raise ValueError("could not determine the shape") from None

    assert common.run(foreign, []) == 128 + signal.SIGUSR1
