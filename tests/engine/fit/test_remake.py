"""A model folder that is gone is made again, to the bit, when the run is given once more."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import load, train
from microgpt.engine.commands.generate import main as generate
from microgpt.engine.store import checkpoint
from microgpt.files import sha256

Tiny = Callable[..., list[str]]
KINDS = {
    "plain": [],
    "average": ["trainer.ema_decay=0.9"],
    "bf16 average": ["trainer.ema_decay=0.9", "trainer.precision=bf16-true"],
    "float64": ["trainer.precision=64-true", "optim=adamw"],
    "no validation split": ["data.val_fraction=0"],
    "best before the end": ["optim=adamw", "optim.lr=0.3", "optim.schedule=constant", "optim.warmup_steps=0"],
}


def model_files(run: Path) -> dict[str, str]:
    return {name: sha256(run / "model" / name) for name in ("model.safetensors", "tokenizer.json")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_run_makes_its_model_again(
    kind: str, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = tiny(*KINDS[kind], "eval.every_n_steps=2"), tmp_path / "run"
    first = train(words)
    assert first is not None
    before, step = model_files(run), first.summary["best_step"]
    assert (step < 6) == (kind == "best before the end")
    shutil.rmtree(run / "model")
    assert generate([str(run)]) == 4
    assert "no model/ folder beside the checkpoints in" in capsys.readouterr().err
    again = train(words)
    assert again is not None
    assert f"was missing: made again from the checkpoint of step {step}" in capsys.readouterr().out
    assert model_files(run) == before
    assert again.summary == first.summary
    assert load(run).model.config == first.model.config


def test_a_run_with_adapters_makes_its_merged_model_again(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny())
    run = tmp_path / "tuned"
    words = tiny(f"model.pretrained={tmp_path / 'run'}", "lora.rank=2", f"hydra.run.dir={run}", "optim=adamw")
    train(words)
    before = model_files(run)
    shutil.rmtree(run / "model")
    train(words)
    assert model_files(run) == before
    (run / "model" / "config.json").unlink()
    train([*words, "trainer.max_steps=8"])  # and goes on with adapters of its own
    assert load(run).summary["step"] == 8


def test_a_run_that_goes_on_has_the_best_model_although_no_later_one_is_better(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tiny(*KINDS["best before the end"], "eval.every_n_steps=2")
    first = train(words)
    assert first is not None
    before = model_files(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    longer = train([*words, "trainer.max_steps=7"])
    assert longer is not None
    assert longer.summary["best_step"] == first.summary["best_step"]
    assert model_files(tmp_path / "run") == before
    best = tmp_path / "run" / "checkpoints" / checkpoint.step_name(first.summary["best_step"])
    (best / checkpoint.WEIGHTS).write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "run" / "model")
    capsys.readouterr()
    assert train([*words, "trainer.max_steps=7"]) is not None
    said = capsys.readouterr().out
    assert f"warning: the best step, {first.summary['best_step']}, is lost (" in said
    assert "made again from the checkpoint of step 7" in said
