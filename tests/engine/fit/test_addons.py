"""Loggers and callbacks, shipped ones and a user's own: one word each, and a run stays exact with them."""

import csv
import importlib.util
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from microgpt import train
from microgpt.config import ConfigError
from microgpt.engine.addons import CallbackConfig, LoggedRun, LoggerConfig, import_shipped
from microgpt.engine.commands.knobs import knobs
from microgpt.engine.commands.sources import Sources
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.store import checkpoint
from microgpt.errors import CheckpointError, MachineError, MicrogptError, UsageError

Tiny = Callable[..., list[str]]

LOGGER = """
    import json
    from pathlib import Path
    from microgpt.engine.addons import LoggerConfig

    class LinesConfig(LoggerConfig, name="lines"):
        file: str = "lines.jsonl"
        "File in the run folder."

        def build(self, run):
            from lightning.pytorch.loggers import Logger

            class Lines(Logger):
                name, version = "lines", ""
                path = run.folder / self.file

                def write(self, *what):
                    with self.path.open("a") as file:
                        print(json.dumps(what), file=file)

                def log_metrics(self, metrics, step=None):
                    self.write("metrics", step, metrics)

                def log_hyperparams(self, params):
                    self.write("params", run.resume_step, params)

                def add_text(self, tag, text, step):
                    self.write("text", step, tag)

                def finalize(self, status):
                    self.write("end", status)

            return Lines()
"""

CALLBACK = """
    import lightning as L
    import torch
    from microgpt.engine.addons import CallbackConfig

    class Probe(L.Callback):
        '''An average of one weight, as a tensor, and the steps seen, as a list.'''

        def __init__(self, decay):
            self.decay, self.average, self.steps = decay, None, []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            weight = pl_module.model.wte.weight.detach()
            self.average = weight.clone() if self.average is None else self.average.lerp_(weight, 1 - self.decay)
            self.steps.append(trainer.global_step)
            torch.manual_seed(7)
            torch.rand(5)

        def state_dict(self):
            return {"average": self.average, "steps": self.steps}

        def load_state_dict(self, state):
            self.average, self.steps = state["average"], state["steps"]

    class ProbeConfig(CallbackConfig, name="probe"):
        decay: float = 0.5
        "Share of the average that stays."

        def build(self):
            return Probe(self.decay)
"""


@pytest.fixture(autouse=True)
def _members() -> Iterator[None]:
    """Forget what a test has registered."""
    import_shipped()
    before = dict(LoggerConfig.members), dict(CallbackConfig.members)
    yield
    for family, members in zip((LoggerConfig, CallbackConfig), before, strict=True):
        family.members.clear()
        family.members.update(members)


@pytest.fixture
def mine(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Write a user's file; gives the override that imports it."""

    def write(code: str) -> str:
        path = tmp_path / f"{request.node.name.split('[')[0]}_{len(list(tmp_path.glob('*.py')))}.py"
        path.write_text(textwrap.dedent(code))
        return f"imports=[{path}]"

    return write


def callback(hooks: str, members: str = "") -> str:
    """A file with the callback `own`."""
    body, more = textwrap.indent(textwrap.dedent(hooks), "    "), textwrap.indent(textwrap.dedent(members), "    ")
    return (
        "import lightning as L\nimport torch\nfrom microgpt.engine.addons import CallbackConfig\n\n"
        f"class Own(L.Callback):\n{body}\n\n"
        f'class OwnConfig(CallbackConfig, name="own"):\n{more}\n    def build(self):\n        return Own()\n'
    )


def newest(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    return checkpoint.read(checkpoint.checkpoints(path / "checkpoints")[0])


def rows(path: Path) -> list[dict[str, str]]:
    """metrics.csv without what the clock says."""
    with (path / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k[:4] not in ("seco", "perf")} for row in csv.DictReader(file)]


def test_a_users_logger_and_callback_are_a_file_and_a_word_each_and_resume_exactly(
    tiny: Tiny, mine: Callable[[str], str], tmp_path: Path
) -> None:
    own = [mine(LOGGER), "logger.lines.file=log.jsonl", "callbacks.slow=probe", "callbacks.slow.decay=0.9"]
    own[0] = own[0][:-1] + "," + mine(CALLBACK).removeprefix("imports=[")
    knobs = tiny(*own, "checkpoint.every_n_steps=1", "checkpoint.keep=9", "model.dropout=0.1", "sample.prompts=[a]")
    whole, plain = tmp_path / "run", tmp_path / "plain"
    train([*knobs, "sample.every_n_steps=6"])
    config = yaml.safe_load((whole / "config.yaml").read_text())
    assert config["callbacks"] == {"slow": {"name": "probe", "decay": 0.9}}
    assert config["logger"]["lines"] == {"name": "lines", "file": "log.jsonl"}
    weights, state = newest(whole)
    assert state["callbacks"]["Probe"]["steps"] == [1, 2, 3, 4, 5, 6]

    lines = [yaml.safe_load(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert (lines[0][0], lines[0][1], lines[0][2]["callbacks.slow.decay"]) == ("params", 0, 0.9)
    assert [line[1] for line in lines if line[0] == "metrics" and "train/loss" in line[2]] == [1, 2, 3, 4, 5, 6]
    assert [line[1] for line in lines if line[0] == "metrics" and "val/bpc" in line[2]] == [3, 6]
    assert ["text", 6, "samples/0"] in lines
    assert lines[-1] == ["end", "success"]

    # Neither the callback's draws nor its presence change what is learnt.
    train(tiny("model.dropout=0.1", "checkpoint.every_n_steps=9", f"hydra.run.dir={plain}"))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in newest(plain)[0].items())
    assert rows(plain) == rows(whole)

    # From every step on, the run and the callback end with the same bits.
    kept = checkpoint.checkpoints(whole / "checkpoints")
    for step in (2, 5):
        again = tmp_path / f"from{step}"
        (again / "checkpoints").mkdir(parents=True)
        source = next(path for path in kept if path.name == checkpoint.step_name(step))
        source.rename(again / "checkpoints" / source.name)
        train([*knobs, f"hydra.run.dir={again}"])
        resumed, its = newest(again)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.items())
        assert its["callbacks"]["Probe"]["steps"] == [1, 2, 3, 4, 5, 6]
        assert torch.equal(its["callbacks"]["Probe"]["average"], state["callbacks"]["Probe"]["average"])
        first = yaml.safe_load((again / "log.jsonl").read_text().splitlines()[0])
        assert first[:2] == ["params", step]


def test_a_users_yaml_makes_a_callback_one_word(tiny: Tiny, mine: Callable[[str], str], tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    (folder / "callbacks").mkdir(parents=True)
    (folder / "callbacks" / "gentle.yaml").write_text("# @package callbacks.gentle\nname: probe\ndecay: 0.75\n")
    config = compose_run(["callbacks=[gentle,lr_monitor]", mine(CALLBACK)], folder).config
    assert {name: part.to_dict() for name, part in config.callbacks.items()} == {
        "gentle": {"name": "probe", "decay": 0.75},
        "lr_monitor": {"name": "lr_monitor", "log_weight_decay": False},
    }


UNPLAIN = {
    "{'model': object()}": r"callback Own holds a object at model",
    "{'a': [1, {'b': {2, 3}}]}": r"callback Own holds a set at a\[1\].b",
    "{'z': torch.ones(2, dtype=torch.complex64)}": r"callback Own holds a Tensor of torch.complex64 at z",
    "{'history': [0.123456789] * 100_000}": r"callback Own takes 1,\d\d\d,\d\d\d characters, and may take 1,048,576",
    "{'weights': torch.zeros(1 << 20)}": r"callback Own brings the tensors .* more than four times the model's weights",
    "{('a', 'b'): 1}": r"callback Own holds a key of type tuple",
}


@pytest.mark.parametrize("state", UNPLAIN)
def test_a_state_that_a_checkpoint_cannot_hold_is_refused_before_the_first_step(
    state: str, tiny: Tiny, mine: Callable[[str], str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=UNPLAIN[state]) as error:
        train(tiny(mine(callback(f"def state_dict(self):\n    return {state}")), "callbacks.x=own"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_a_state_that_stops_being_plain_is_refused_by_the_save(
    tiny: Tiny, mine: Callable[[str], str], tmp_path: Path
) -> None:
    hooks = """
        found = None

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.found = outputs if trainer.global_step > 3 else 0

        def state_dict(self):
            return {"found": [self.found, iter(()) if self.found else 1]}
    """
    with pytest.raises(UsageError, match=r"callback Own holds a tuple_iterator at found\[1\]"):
        train(tiny(mine(callback(hooks)), "callbacks.x=own", "checkpoint.every_n_steps=2"))
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[0].name == "step-00000003"


def test_what_a_callback_adds_to_the_checkpoint_must_be_plain_too(tiny: Tiny, mine: Callable[[str], str]) -> None:
    hooks = "def on_save_checkpoint(self, trainer, pl_module, checkpoint):\n    checkpoint['mine'] = trainer.callbacks"
    with pytest.raises(UsageError, match=r"entry 'mine', which a callback added, holds a .* at \[0\]"):
        train(tiny(mine(callback(hooks)), "callbacks.x=own"))


def test_states_under_one_key_are_refused_and_so_is_what_is_no_callback(
    tiny: Tiny, mine: Callable[[str], str], tmp_path: Path
) -> None:
    stateful = "def state_dict(self):\n    return {'a': 1}"
    with pytest.raises(UsageError, match=r"'Own', as that of callbacks.x in callbacks.y; give the class a state_key"):
        train(tiny(mine(callback(stateful)), "callbacks.x=own", "callbacks.y=own"))
    CallbackConfig.members.pop("own")
    as_ours = stateful + "\n\nstate_key = 'Metrics'"
    with pytest.raises(UsageError, match=r"'Metrics', as that of Metrics in callbacks.x"):
        train(tiny(mine(callback(as_ours)), "callbacks.x=own"))
    code = "from microgpt.engine.addons import CallbackConfig\n\nclass {0}(CallbackConfig, name='{0}'):\n"
    code += "    def build(self):\n        {1}\n"
    saver = "from lightning.pytorch.callbacks import ModelCheckpoint; return ModelCheckpoint()"
    with pytest.raises(UsageError, match=r"callbacks.none_such; return a lightning.Callback"):
        train(tiny(mine(code.format("none_such", "return 3")), "callbacks.none_such.name=none_such"))
    with pytest.raises(UsageError, match=r"cannot resume from in callbacks.saver; set checkpoint.every_n_steps"):
        train(tiny(mine(code.format("saver", saver)), "callbacks.saver=saver"))
    assert not (tmp_path / "run").exists()


def test_a_callback_that_changes_training_belongs_to_the_run_and_one_that_watches_does_not(
    tiny: Tiny, mine: Callable[[str], str], tmp_path: Path
) -> None:
    hooks = """
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            for weight in pl_module.parameters():
                weight.grad.mul_(0.5)
    """
    halving = mine(callback(hooks, "changes_training = True\n\nfactor: float = 0.5\n'A knob.'"))
    longer = ["trainer.max_steps=8", "optim.schedule=constant", "optim.warmup_steps=0", "optim=sgd"]
    train([*tiny(halving, "callbacks.half=own", "callbacks.clock=timer"), *longer[1:]])
    half = newest(tmp_path / "run")[0]
    with pytest.raises(CheckpointError, match=r"callbacks.half.factor: 0.5 -> None"):
        train([*tiny(), *longer])
    with pytest.raises(CheckpointError, match=r"callbacks.half.factor: 0.5 -> 0.25"):
        train([*tiny(halving, "callbacks.half=own", "callbacks.half.factor=0.25"), *longer])
    run = train([*tiny(halving, "callbacks.half=own"), *longer])  # without the timer, which only watches
    assert run is not None
    assert run.summary["step"] == 8
    train([*tiny(f"hydra.run.dir={tmp_path / 'plain'}"), *longer[1:]])
    assert any(not torch.equal(tensor, half[name]) for name, tensor in newest(tmp_path / "plain")[0].items())


def test_metrics_that_a_callback_logs_through_lightning_arrive_at_their_step_also_after_a_resume(
    tiny: Tiny, mine: Callable[[str], str], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    hooks = """
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.log("own/step", float(trainer.global_step))
    """
    knobs = tiny(mine(callback(hooks)), "callbacks=[lr_monitor,device_stats]", "callbacks.x=own", "optim=adamw",
                 "optim.schedule=constant", "optim.warmup_steps=0")  # fmt: skip
    train(knobs)
    train([*knobs, "trainer.max_steps=9"])
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    # Lightning counts the updates before a step, and the value counts this one too.
    assert [(event.step, event.value) for event in events.Scalars("own/step")] == [(n, n + 1.0) for n in range(9)]
    assert [event.step for event in events.Scalars("lr-AdamW/pg1")] == list(range(9))
    assert "DeviceStatsMonitor.on_train_batch_end/cpu_percent" in events.Tags()["scalars"]
    assert [row["step"] for row in rows(tmp_path / "run") if row["train/loss"]] == [str(n) for n in range(1, 10)]
    assert all(row["train/loss"] or row["val/loss"] for row in rows(tmp_path / "run"))  # no rows of others' metrics


def test_a_timer_ends_a_run_that_goes_on_when_it_is_given_more(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tiny("callbacks.timer.minutes=1e-6", "trainer.max_steps=5"))
    assert run is not None
    assert (run.summary["step"], run.summary["best_step"]) == (1, 1)  # evaluated and saved where it stopped
    assert "1e-06 minutes of training are over: stopping at step 1" in capsys.readouterr().out
    again = train(tiny("callbacks.timer.minutes=1e-6", "trainer.max_steps=5"))
    assert again is not None
    assert again.summary["step"] == 1
    more = train(tiny("callbacks.timer.minutes=5", "trainer.max_steps=5"))
    train(tiny("trainer.max_steps=5", f"hydra.run.dir={tmp_path / 'whole'}"))
    assert more is not None
    assert more.summary["step"] == 5
    whole = newest(tmp_path / "whole")[0]
    assert all(torch.equal(tensor, whole[name]) for name, tensor in newest(tmp_path / "run")[0].items())


@pytest.mark.parametrize("word", ["none", "csv", "null"])
def test_without_loggers_metrics_csv_is_written_all_the_same(word: str, tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(f"logger={word}", "sample.every_n_steps=3", "eval.figures=always"))
    assert list((tmp_path / "run").glob("events.*")) == []
    assert [row["step"] for row in rows(tmp_path / "run") if row["train/loss"]] == ["1", "2", "3", "4", "5", "6"]


def test_a_missing_package_is_named_before_training(tiny: Tiny, mine: Callable[[str], str], tmp_path: Path) -> None:
    code = "from microgpt.engine.addons import LoggerConfig\n\nclass A(LoggerConfig, name='cloudy'):\n"
    code += "    packages = ('no_such_package',)\n"
    with pytest.raises(MachineError, match=r"logger.cloudy needs the package no_such_package .* pip install"):
        train(tiny(mine(code), "logger.cloudy=cloudy"))
    for name in ("wandb", "mlflow"):
        if importlib.util.find_spec(name) is None:
            with pytest.raises(MachineError, match=rf'needs the package {name} .*; pip install "microgpt\[{name}\]"'):
                train(tiny(f"logger=[tensorboard,{name}]"))
    assert not (tmp_path / "run").exists()


def test_a_logger_of_another_kind_is_refused(tiny: Tiny, mine: Callable[[str], str], tmp_path: Path) -> None:
    code = "from microgpt.engine.addons import LoggerConfig\n\nclass B(LoggerConfig, name='odd'):\n"
    code += "    def build(self, run):\n        return print\n"
    with pytest.raises(UsageError, match=r"in logger.odd; return a lightning.pytorch.loggers.Logger"):
        train(tiny(mine(code), "logger.odd=odd"))
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_ends_its_records_as_failed(tiny: Tiny, mine: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(MicrogptError, match="not finite"):
        train(tiny(mine(LOGGER), "logger.lines=lines", "optim=sgd", "optim.lr=1e30", "optim.warmup_steps=0"))
    assert (tmp_path / "run" / "lines.jsonl").read_text().splitlines()[-1] == '["end", "failed"]'


@pytest.mark.parametrize(("group", "family"), [("logger", LoggerConfig), ("callbacks", CallbackConfig)])
def test_every_shipped_member_has_a_yaml_and_its_knobs_are_in_the_help(
    group: str, family: type[LoggerConfig | CallbackConfig]
) -> None:
    assert set(config_groups(shipped_yaml())[group]) == set(family.members) | {
        "none",
        *(["csv"] if group == "logger" else []),
    }
    listed = {knob.name for knob in knobs(Sources())}
    for name, member in family.members.items():
        own = compose_run([f"{group}={name}"]).config.to_dict()[group]
        assert own == {name: member().to_dict()}
        assert {f"{group}.{name}.{knob}" for knob in own[name] if knob != "name"} <= listed


def test_a_mistyped_knob_of_a_member_is_found() -> None:
    with pytest.raises(ConfigError, match=r"callbacks.clock.minuts: unknown key; did you mean 'minutes'"):
        compose_run(["callbacks.clock=timer", "callbacks.clock.minuts=3"])


def test_the_id_of_a_record_is_kept_for_a_resumed_run_alone(tmp_path: Path) -> None:
    LoggedRun(tmp_path).write_id("wandb", "a1b2")
    assert LoggedRun(tmp_path, resume_step=3).read_id("wandb") == "a1b2"
    assert LoggedRun(tmp_path).read_id("wandb") is None
    (tmp_path / "wandb.id").write_text("../../etc")
    assert LoggedRun(tmp_path, resume_step=3).read_id("wandb") is None
    assert LoggedRun(Path("sweeps/today/7")).name == "today/7"
