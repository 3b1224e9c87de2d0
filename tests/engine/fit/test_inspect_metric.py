"""Induction scores logged during training: they appear beside the loss and change nothing that is learnt."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt import Run, load, train
from microgpt.engine.store import checkpoint
from microgpt.engine.store.run_folder import RunDir
from microgpt.errors import UsageError
from microgpt.inspect import induction_history, induction_score

Tiny = Callable[..., list[str]]
KNOBS = ("model.n_embd=32", "model.n_head=4", "model.dropout=0.1", "trainer.max_steps=6", "logger=tensorboard")


def rows(run: Run) -> list[dict[str, str]]:
    with RunDir(run.path).metrics.open(newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Run) -> dict[str, Any]:
    return dict(run.model.state_dict())


def without(row: dict[str, str], *more: str) -> dict[str, str]:
    """A row of metrics.csv without what depends on the clock."""
    clock = ("seconds", "perf/tokens_per_second", "perf/mfu", *more)
    return {key: value for key, value in row.items() if key not in clock}


@pytest.fixture
def pair(tiny: Tiny, tmp_path: Path) -> tuple[Run, Run]:
    plain = train(tiny(*KNOBS, f"hydra.run.dir={tmp_path / 'plain'}"))
    scored = train(tiny(*KNOBS, "inspect.every_n_steps=2", f"hydra.run.dir={tmp_path / 'scored'}"))
    return plain, scored  # type: ignore[return-value]


def test_training_is_the_same_to_the_bit_with_and_without_scores(pair: tuple[Run, Run]) -> None:
    plain, scored = pair
    for name, weight in weights(plain).items():
        assert torch.equal(weight, weights(scored)[name]), name
    theirs = [row for row in rows(scored) if row["train/loss"] or row["val/loss"]]
    assert [without(row) for row in rows(plain)] == [without(row, "inspect/induction") for row in theirs]
    assert "inspect/induction" not in rows(plain)[0]


def test_scores_are_logged_beside_the_loss_and_drawn(pair: tuple[Run, Run]) -> None:
    plain, scored = pair
    logged = {int(row["step"]): float(row["inspect/induction"]) for row in rows(scored) if row["inspect/induction"]}
    assert sorted(logged) == [2, 4, 6]
    assert logged[6] == pytest.approx(induction_score(scored).values.max(), rel=1e-5)
    history = induction_history(load(scored.path))
    assert history.induction[:, 0].tolist() == [2, 4, 6]
    assert history.losses["val/loss"][:, 0].tolist() == [3, 6]
    assert len(history.plot().axes) == 2
    assert "<td" in history._repr_html_()
    (events,) = scored.path.glob("events.out.*")
    for layer, head in ((0, 0), (1, 3)):
        assert f"inspect/induction/layer{layer}.head{head}".encode() in events.read_bytes()
    with pytest.raises(UsageError, match=r"no induction scores in .*; train with inspect.every_n_steps=100"):
        induction_history(plain)


def test_a_resumed_run_goes_on_with_its_scores(tiny: Tiny, tmp_path: Path, pair: tuple[Run, Run]) -> None:
    folder = f"hydra.run.dir={tmp_path / 'resumed'}"
    knobs = tiny(*KNOBS, "inspect.every_n_steps=2", "checkpoint.every_n_steps=2", "checkpoint.keep=9", folder)
    whole = train(knobs)
    before = [without(row) for row in rows(whole)]  # type: ignore[arg-type]
    for step in (4, 6):
        shutil.rmtree(whole.path / "checkpoints" / checkpoint.step_name(step))
    assert (whole.path / "checkpoints" / checkpoint.step_name(2)).is_dir()
    (whole.path / "summary.json").unlink()
    again = train(knobs)
    assert [without(row) for row in rows(again)] == before  # type: ignore[arg-type]
    assert all(torch.equal(weight, weights(pair[1])[name]) for name, weight in weights(again).items())  # type: ignore[arg-type]
