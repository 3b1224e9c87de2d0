"""The short way through a step gives what Lightning's own loop gives, bit for bit."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import train
from microgpt.engine.fit import loop, training
from microgpt.engine.fit.callbacks.base import StepCallback
from microgpt.engine.store import checkpoint

Tiny = Callable[..., list[str]]


@pytest.mark.parametrize(
    "knobs",
    [
        "",
        "trainer.precision=bf16-mixed trainer.micro_batch_size=4 model.dropout=0.2",
        "trainer.precision=bf16-true trainer.ema_decay=0.9 optim=muon",
        "optim.lr=1e30 optim.warmup_steps=0 trainer.on_nonfinite=skip trainer.max_steps=4",
        "optim=lion trainer.early_stopping_patience=1 optim.lr=10 optim.warmup_steps=0 eval.every_n_steps=1",
    ],
)
def test_the_short_way_changes_nothing(knobs: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways, found = [], []
    start = loop.StepLoop.on_run_start

    def watched(self: loop.StepLoop, data_fetcher: object) -> None:
        start(self, data_fetcher)
        ways.append(self.is_short)

    monkeypatch.setattr(loop.StepLoop, "on_run_start", watched)
    for name in ("short", "lightning"):
        if name == "lightning":
            monkeypatch.setattr(loop, "has_hook", lambda *_: True)
        train([*tiny(*knobs.split()), f"hydra.run.dir={tmp_path / name}"])
        with (tmp_path / name / "metrics.csv").open() as file:
            rows = [{k: v for k, v in row.items() if k[:4] not in ("seco", "perf")} for row in csv.DictReader(file)]
        newest = max((tmp_path / name / "checkpoints").glob("step-*"))
        weights, state = checkpoint.read(newest)
        state["callbacks"].pop("Metrics")  # seconds
        found.append((newest.name, rows, {k: v.tolist() for k, v in weights.items()}, repr(state)))
    assert ways == [True, False]
    assert found[0] == found[1]


def test_a_callback_with_another_hook_of_a_step_is_called(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Watcher(StepCallback):
        def on_before_optimizer_step(self, *_: object) -> None:  # type: ignore[override]
            calls.append(1)

    build = training.build_trainer  # type: ignore[attr-defined]
    monkeypatch.setattr(training, "build_trainer", lambda *args: build(*args[:-1], [*args[-1], Watcher()]))  # type: ignore[call-arg]
    train(tiny())
    assert len(calls) == 6
