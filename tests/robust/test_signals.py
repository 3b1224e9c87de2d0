"""Signals: the right exit code, nothing lost, and advice that can be typed as it stands."""

import contextlib
import os
import pkgutil
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import campaign_kills
import campaign_rig
import campaign_stops
from microgpt import train
from microgpt.engine.commands import common
from microgpt.engine.commands import train as command
from microgpt.engine.fit.callbacks.save import Save
from microgpt.engine.process import signals, stopping
from microgpt.engine.process.stopping import resume_command
from microgpt.engine.store import checkpoint
from microgpt.errors import CheckpointError

Tiny = Callable[..., list[str]]


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None], method: str = "on_step_end") -> None:
    """Call `act` just before the saving callback is told of a step, once."""
    told, done = getattr(Save, method), []  # type: ignore[var-annotated]

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
    from microgpt.engine.fit.callbacks.evaluate import Evaluate

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
    from microgpt.engine.fit.module import GPTModule

    monkeypatch.setattr(GPTModule, "training_step", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert command.main(tiny()) == 130
    assert "nothing to save; start with: microgpt-train data.path=" in capsys.readouterr().out
    assert not checkpoint.checkpoints(tmp_path / "run" / "checkpoints")


@pytest.mark.parametrize(
    "phase",
    ["train.compose_run", "prepare.prepare", "fit.training.GPTModule", "fit.training.build_trainer",
     "train.closing_words", "train.load"],
)  # fmt: skip
def test_ctrl_c_in_every_phase_is_130_and_the_run_can_go_on(
    phase: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"microgpt.engine.{phase}", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        assert command.main(tiny()) == 130
    assert command.main(tiny()) == 0
    assert (tmp_path / "run" / "summary.json").is_file()


def kill(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


def swallowed() -> None:
    """As by foreign code whose `except:` catches all."""
    with contextlib.suppress(BaseException):
        kill()


def made_an_error() -> None:
    """As safetensors does when a signal arrives while it builds a tensor, and we with safetensors' errors."""
    try:
        kill()
    except BaseException:
        raise CheckpointError("could not determine the shape") from None


def calling(real: Any, act: Callable[[], None], when: str) -> Any:
    """`real`, with `act` called before its first call, `after` it, or before its call number `when`."""
    calls: list[int] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if when == str(len(calls)):
            act()
        value = real(*args, **kwargs)
        if when == f"after {len(calls)}":
            act()
        return value

    return call


LIGHTNING = "lightning.pytorch.trainer.connectors.signal_connector._SignalConnector"
HANDLES = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda n, f: sys.exit(128 + n)); "
    "open(sys.argv[1], 'w').close(); time.sleep(60)"
)
START, SAVED_1, SAVED_2 = "nothing to save; start with", "saved at step 1; go on with", "saved at step 2; go on with"
ENGINE = "microgpt.engine"
WAYS_OUT: list[tuple[str, str, Callable[[], None], str]] = [
    (f"{ENGINE}.process.signals.install", "after 1", kill, START),
    (f"{ENGINE}.train.compose_run", "1", kill, START),
    (f"{ENGINE}.prepare.prepare", "1", kill, START),
    (f"{ENGINE}.prepare.prepare", "1", made_an_error, START),
    (f"{ENGINE}.prepare.prepare", "1", swallowed, SAVED_1),
    (f"{ENGINE}.store.claim._probe", "1", kill, START),
    (f"{ENGINE}.store.claim._lock", "1", kill, START),
    (f"{ENGINE}.train.logging_to", "1", kill, START),
    (f"{ENGINE}.train.find_start", "1", kill, START),
    (f"{ENGINE}.fit.training.build_trainer", "1", made_an_error, START),
    (f"{LIGHTNING}.register_signal_handlers", "after 1", kill, START),
    (f"{ENGINE}.fit.module.GPTModule.training_step", "1", kill, START),
    (f"{ENGINE}.fit.module.GPTModule.training_step", "1", made_an_error, START),
    (f"{ENGINE}.fit.module.GPTModule.training_step", "2", kill, SAVED_2),
    (f"{ENGINE}.fit.callbacks.evaluate.score_text", "1", kill, SAVED_1),
    (f"{ENGINE}.store.checkpoint.write", "1", kill, SAVED_2),
    (f"{ENGINE}.store.checkpoint.write", "after 2", kill, SAVED_2),
    (f"{LIGHTNING}.teardown", "after 1", kill, SAVED_2),
    (f"{ENGINE}.process.signals.defer", "9", kill, SAVED_2),  # as the deferral ends
    (f"{ENGINE}.process.signals.defer", "after 9", kill, SAVED_2),
    (f"{ENGINE}.train.load", "1", made_an_error, SAVED_2),
    (f"{ENGINE}.train.load", "1", swallowed, SAVED_2),
    (f"{ENGINE}.store.run_folder.RunDir.write_summary", "1", kill, SAVED_2),
    (f"{ENGINE}.train.closing_words", "after 1", kill, SAVED_2),
    (f"{ENGINE}.process.progress.Progress.stop", "2", kill, SAVED_2),  # when `fit` has returned
    (f"{ENGINE}.process.logs.LogFile.close", "after 1", kill, SAVED_2),
    (f"{ENGINE}.commands.train.train_command", "after 1", kill, SAVED_2),
]


@pytest.mark.parametrize(
    ("place", "when", "act", "words"), WAYS_OUT, ids=[f"{w[0]}-{w[1]}-{w[2].__name__}" for w in WAYS_OUT]
)
def test_whichever_way_a_signal_ends_a_run_it_says_once_how_to_go_on(
    place: str,
    when: str,
    act: Callable[[], None],
    words: str,
    tiny: Tiny,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    arguments = tiny("trainer.max_steps=2", "eval.every_n_steps=1", "checkpoint.every_n_steps=1")
    handlers = [signal.getsignal(s) for s in signals.SIGNALS]
    holder, name = place.rsplit(".", 1)
    target = pkgutil.resolve_name(holder)
    with monkeypatch.context() as patch:
        patch.setattr(target, name, calling(getattr(target, name), act, when))
        assert command.main(arguments) == 143
    out, err = capfd.readouterr()
    said = [line for line in out.splitlines() if " with: microgpt-train " in line]
    assert [line.split(":")[0] for line in said] == [words]
    assert [line for line in err.splitlines() if line and "stopping after this step" not in line] == [
        "microgpt: stopped by SIGTERM"
    ]
    assert [signal.getsignal(s) for s in signals.SIGNALS] == handlers
    assert command.main(shlex.split(said[0].split("with: ")[1])[1:]) == 0


@pytest.mark.parametrize("module", ["torch", "lightning.pytorch.trainer"])
def test_a_signal_while_python_imports_says_how_to_go_on(module: str, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("a text\n" * 99)
    code = f"""
import os, signal, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder)
from microgpt.engine.commands.train import main
sys.exit(main(["data.path=a b.txt", "seed=3"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert done.stdout == "nothing to save; start with: microgpt-train 'data.path=a b.txt' seed=3\n"
    assert done.stderr == "microgpt: stopped by SIGTERM\n"


@pytest.mark.parametrize("call", ["common.run(lambda arguments: None)", "worker.main()"])
def test_a_clusters_warning_while_python_exits_fails_no_finished_job(call: str, tmp_path: Path) -> None:
    code = (
        "import atexit, os, signal, sys; from microgpt.engine import worker;"
        "from microgpt.engine.commands import common;"
        "worker.train_launched = lambda folder: 0; sys.argv = ['command', '.'];"
        f"atexit.register(os.kill, os.getpid(), signal.SIGUSR1); sys.exit({call})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_more_signals_change_nothing_about_the_words(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def more(number: int, **_: Any) -> None:
        kill()
        kill(signal.SIGUSR1)

    monkeypatch.setattr(stopping.cluster, "leave_job", more)  # type: ignore[attr-defined]
    monkeypatch.setattr(stopping, "newest_step", lambda _: more(0) or 7)
    at_step(monkeypatch, 2, kill)
    assert command.main(tiny()) == 143
    out, err = capfd.readouterr()
    assert out.count("saved at step 7; go on with: microgpt-train ") == 1
    assert err.endswith("microgpt: stopped by SIGTERM\n")


@pytest.mark.parametrize(("rank_0", "times"), [("import time; time.sleep(60)", 1), (HANDLES, 0)])
def test_the_process_that_started_the_ranks_says_how_to_go_on_unless_rank_0_has(
    rank_0: str,
    times: int,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from microgpt.engine.fit import ranks

    ready = tmp_path / "ready"
    if times == 1:
        ready.touch()  # it ends by the signal, whenever that comes

    def start(_: Path, env: dict[str, Any], **_options: Any) -> "subprocess.Popen[bytes]":
        told = ready if env["RANK"] == 0 else tmp_path / "other"
        return subprocess.Popen([sys.executable, "-c", rank_0, told], stdin=subprocess.PIPE)

    def signalled(*_: Any) -> None:
        while not ready.exists():
            time.sleep(0.01)
        kill()

    monkeypatch.setattr(ranks, "start", start)
    monkeypatch.setattr(ranks, "wait_together", signalled)
    assert command.main(tiny("trainer.devices=2")) == 143
    assert capfd.readouterr().out.count("nothing to save; start with: microgpt-train ") == times


def test_a_sweep_that_is_stopped_goes_on_as_a_sweep(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    at_step(monkeypatch, 2, kill)
    words = [word for word in tiny("trainer.max_steps=3") if not word.startswith("hydra.run.dir")]
    assert command.main(["seed=1,2", *words, f"hydra.sweep.dir={tmp_path / 'sweep'}", "-m"]) == 143
    (said,) = [line for line in capfd.readouterr().out.splitlines() if "with: microgpt-train" in line]
    assert said.startswith("go on with: microgpt-train -m seed=1,2 ")
    assert command.main(shlex.split(said.split("with: ")[1])[1:]) == 0
    assert "from step 2 it continues bit for bit" in capfd.readouterr().out
    assert [(tmp_path / "sweep" / n / "summary.json").is_file() for n in "01"] == [True, True]


@pytest.mark.slow
def test_a_signal_at_any_place_of_the_program_says_how_to_go_on(tmp_path: Path) -> None:
    figures = campaign_stops.stops(tmp_path, every=200)
    assert figures["faults"] == []
    assert figures["places"] > 1500
    assert figures["stopped"] >= 9


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

        Save.on_step_end = tell  # in a fork of its own

    def work(number: int) -> int:
        twice(number)
        return campaign_rig.train(run, tmp_path / f"run-{number}", arguments=("seed=1",))

    output = tmp_path / "out.txt"
    for number, saved in ((signal.SIGINT, 4), (signal.SIGTERM, 6)):
        assert campaign_rig.ended(campaign_rig.forked(lambda n=number: work(n), output)) == 128 + number
        assert campaign_rig.newest_step(tmp_path / f"run-{number}") == saved
        words = f"saved at step {saved}; go on with: microgpt-train seed=1 hydra.run.dir={tmp_path}/run-{number}\n"
        assert output.read_text().count(words) == 1
        assert output.read_text().count("left at once, without saving; ") == (number == signal.SIGINT)


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
