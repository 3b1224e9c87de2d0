"""A private name that Lightning drops is reported by name, before training."""

import importlib.util
from operator import attrgetter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.loops import training_epoch_loop

from microgpt.engine.fit import lightning_private
from microgpt.engine.fit.loop import StepLoop
from microgpt.errors import MachineError


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> L.Trainer:
    """Of the kind that trains here."""
    monkeypatch.setattr("warnings.warn", lambda *_, **__: None)  # Lightning's, about this machine
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, max_steps=1)
    trainer.fit_loop.epoch_loop = StepLoop(trainer, max_steps=1)
    return trainer


def take_away(holder: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove an attribute from an object and from the class that defines it or its default."""
    if name in vars(holder):
        monkeypatch.delattr(holder, name)
    for owner in type(holder).__mro__:
        if name in vars(owner):
            assert owner.__module__.startswith("lightning.")
            monkeypatch.delattr(owner, name)


@pytest.mark.parametrize("path", lightning_private.OF_A_TRAINER)
def test_a_name_that_a_trainer_lacks_is_reported(
    path: str, trainer: L.Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lightning_private.check(trainer)
    holder, _, name = path.rpartition(".")
    take_away(attrgetter(holder)(trainer) if holder else trainer, name, monkeypatch)
    with pytest.raises(
        MachineError, match=rf"has no Trainer\.(\S+\.)?{name}, .*; pip install \"lightning>=2.6.6,<2.7\""
    ):
        lightning_private.check(trainer)


@pytest.mark.parametrize(("cls", "name"), lightning_private.OF_CLASSES)
def test_a_method_that_would_no_longer_be_called_is_reported(
    cls: type, name: str, trainer: L.Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cls, name)
    with pytest.raises(MachineError, match=rf"has no {cls.__name__}\.{name}"):
        lightning_private.check(trainer)


def test_a_missing_loop_is_reported_when_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(training_epoch_loop, "_TrainingEpochLoop")
    spec = importlib.util.spec_from_file_location("a_copy", str(lightning_private.__file__))
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(MachineError, match=r"has no lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_no_other_file_uses_a_private_name_of_lightning() -> None:
    folder = Path(lightning_private.__file__).parent
    names = [path.rpartition(".")[2] for path in lightning_private.OF_A_TRAINER]
    private = ["_TrainingEpochLoop", "_step_supports_amp_scaling", "_configure_launcher", "_logger_connector"]
    private += [name for name in names if name.startswith("_")]
    for path in folder.rglob("*.py"):
        if path.name != "lightning_private.py":
            text = path.read_text(encoding="utf-8")
            assert not [name for name in private if name in text], path


def test_the_versions_checked_are_those_that_the_package_accepts() -> None:
    assert f'"lightning{lightning_private.CHECKED}"' in (Path(__file__).parents[3] / "pyproject.toml").read_text()
