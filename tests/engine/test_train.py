"""A whole run: what it writes, what it returns, and what must not change what is learnt."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from microgpt import Run, load, train
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.runlog import columns
from microgpt.engine.machine import device as machine
from microgpt.engine.store import checkpoint
from microgpt.errors import CheckpointError, UsageError

Tiny = Callable[..., list[str]]


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The last checkpoint's weights."""
    newest = max((path / "checkpoints").glob("step-*"))
    return load_file(newest / "weights.safetensors")


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_writes_the_folder_of_the_contract_and_returns_the_run(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny("sample.every_n_steps=3", "eval.figures=end"))
    folder = tmp_path / "run"
    assert isinstance(run, Run)
    names = {path.name.split(".tfevents")[0] for path in folder.iterdir()}
    files = "config.yaml corpus.json checkpoints model summary.json metrics.csv events.out train.log report.png"
    assert names == set(files.split())
    assert {path.name for path in (folder / "model").iterdir()} == {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
    }

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["step"] == 6
    assert summary["tokens"] == 6 * 8 * 16
    assert summary["params"] == run.model.num_params()
    assert summary["val/bpc"] == pytest.approx(summary["val/loss"] / math.log(2), rel=1e-6)
    assert summary["train_seconds"] > 0
    assert summary["tokens_per_second"] > 0

    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == columns()
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [int(row["step"]) for row in rows if row["val/loss"]] == [3, 6]
    assert summary["val/loss"] == pytest.approx(
        min(float(row["val/loss"]) for row in rows if row["val/loss"]), rel=1e-6
    )


def test_the_closing_sample_is_as_long_as_asked_for(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny("sample.max_new_tokens=3", "sample.prompts=[the]"))
    assert re.search(r"\n\nthe.{,3}\n\n6 steps", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(("knob", "within"), [("null", "medium"), ("highest", "highest"), ("high", "high")])
def test_float32_products_are_as_asked_for_while_training(
    knob: str, within: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    forward = GPTModule.forward

    def watched(self: GPTModule, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        seen.add(torch.get_float32_matmul_precision())
        return forward(self, x, y)

    monkeypatch.setattr(GPTModule, "forward", watched)
    with machine.float32_matmul_precision("medium"):
        train(tiny(f"trainer.float32_matmul_precision={knob}"))
        assert torch.get_float32_matmul_precision() == "medium"
    manifest = checkpoint.manifest(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    assert seen == {manifest["fingerprint"]["float32_matmul_precision"]} == {within}


@pytest.fixture
def products_in_bfloat16() -> Iterator[None]:
    """Set by torch's newer name, which its older one then refuses to read."""
    before = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before  # type: ignore[attr-defined]


@pytest.mark.usefixtures("products_in_bfloat16")
def test_float32_products_may_be_set_by_torchs_newer_names(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny())
    manifest = checkpoint.manifest(max((tmp_path / "run" / "checkpoints").glob("step-*")))
    assert manifest["fingerprint"]["float32_matmul_precision"].endswith(", cpu bf16")
    with pytest.raises(UsageError, match=r"trainer\.float32_matmul_precision; leave one of the two out"):
        train(tiny("trainer.float32_matmul_precision=high", f"hydra.run.dir={tmp_path / 'other'}"))


def test_tensorboard_holds_every_figure_of_the_contract(tiny: Tiny, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny("sample.every_n_steps=3", "eval.figures=end", "sample.prompts=[the,a]"))
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    tags = events.Tags()
    scalars = "train/loss train/grad_norm lr val/loss val/bpc val/accuracy perf/tokens_per_second perf/mfu"
    assert set(scalars.split()) <= set(tags["scalars"])
    assert {"attention", "val/loss_by_position"} <= set(tags["images"])
    assert {"samples/0/text_summary", "samples/1/text_summary", "weights/text_summary"} <= set(tags["tensors"])
    assert [event.step for event in events.Scalars("val/loss")] == [3, 6]


def test_the_initial_loss_is_that_of_guessing(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny("trainer.max_steps=1"))
    assert run is not None
    with (tmp_path / "run" / "metrics.csv").open() as file:
        first = next(csv.DictReader(file))
    assert float(first["train/loss"]) == pytest.approx(math.log(run.tokenizer.vocab_size), abs=0.1)


def test_evaluation_samples_and_saves_do_not_change_what_is_learnt(tiny: Tiny, tmp_path: Path) -> None:
    quiet, busy = tmp_path / "quiet", tmp_path / "busy"
    train(tiny("model.dropout=0.1", f"hydra.run.dir={quiet}", "eval.every_n_steps=0"))
    train(
        tiny(
            "model.dropout=0.1", f"hydra.run.dir={busy}", "eval.every_n_steps=1", "eval.protocol=sliding",
            "sample.every_n_steps=1", "checkpoint.every_n_steps=1", "checkpoint.keep=3", "eval.figures=always",
        )
    )  # fmt: skip
    assert_same(weights(quiet), weights(busy))


def test_micro_batches_do_not_change_what_is_learnt(tiny: Tiny, tmp_path: Path) -> None:
    for micro in (8, 4, 1):
        folder = tmp_path / str(micro)
        train(tiny("trainer.precision=64-true", f"trainer.micro_batch_size={micro}", f"hydra.run.dir={folder}"))
    whole = weights(tmp_path / "8")
    for micro in (4, 1):
        parts = weights(tmp_path / str(micro))
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=0, atol=1e-12)


def test_with_dropout_a_split_of_the_batch_is_a_draw_of_masks_that_repeats(tiny: Tiny, tmp_path: Path) -> None:
    for name, micro in (("a", 8), ("b", 4), ("c", 4)):
        words = ("model.dropout=0.2", f"trainer.micro_batch_size={micro}", f"hydra.run.dir={tmp_path / name}")
        train(tiny(*words, "trainer.max_steps=2"))
    assert_same(weights(tmp_path / "b"), weights(tmp_path / "c"))
    assert not torch.equal(weights(tmp_path / "a")["model.wte.weight"], weights(tmp_path / "b")["model.wte.weight"])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny: Tiny, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tiny(f"seed={seed}", f"hydra.run.dir={tmp_path / name}"))
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not torch.equal(weights(tmp_path / "a")["model.wte.weight"], weights(tmp_path / "c")["model.wte.weight"])


@pytest.mark.parametrize("optim", ["adamw", "muon", "sgd", "lion"])
def test_every_optimizer_learns(optim: str, tiny: Tiny, tmp_path: Path) -> None:
    lr = {"adamw": 3e-3, "muon": 0.02, "sgd": 0.3, "lion": 1e-3}[optim]
    run = train(tiny(f"optim={optim}", f"optim.lr={lr}", "trainer.max_steps=60", "eval.every_n_steps=60"))
    assert run is not None
    assert run.summary["val/loss"] < 2.5  # ln V is 3.2, token frequencies reach 2.7


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_of_the_cpu_learns_the_same(precision: str, tiny: Tiny) -> None:
    run = train(tiny(f"trainer.precision={precision}", "trainer.max_steps=30", "eval.every_n_steps=30"))
    assert run is not None
    assert run.summary["precision"] == precision
    in_float64 = 1.6425
    within = 0.1 if precision == "bf16-true" else 0.05  # weights of 8 bits lose the smaller part of each update
    assert run.summary["val/loss"] == pytest.approx(in_float64, abs=within)


def test_a_finished_run_says_so_and_is_not_trained_again(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny())
    capsys.readouterr()
    again = train(tiny())
    assert again is not None
    assert again.summary["step"] == 6
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UsageError, match="resume=never"):
        train(tiny("resume=never"))


def test_a_run_with_other_science_is_refused_by_naming_the_knob(tiny: Tiny) -> None:
    train(tiny())
    with pytest.raises(CheckpointError, match=r"model.n_layer: 2 -> 3"):
        train(tiny("model.n_layer=3", "trainer.max_steps=9"))


def test_resume_must_needs_a_checkpoint(tiny: Tiny) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        train(tiny("resume=must"))


def test_the_moved_model_folder_generates_without_corpus_or_run(tiny: Tiny, tmp_path: Path, book: Path) -> None:
    run = train(tiny())
    assert run is not None
    (tmp_path / "run" / "model").rename(tmp_path / "elsewhere")
    book.unlink()
    moved = load(tmp_path / "elsewhere")
    expected = run.generate("the cat", max_new_tokens=20, seed=3)
    assert moved.generate("the cat", max_new_tokens=20, seed=3) == expected
    assert expected.startswith("the cat")


def test_an_epoch_is_as_many_windows_as_the_text_has_places(tiny: Tiny) -> None:
    run = train(tiny("trainer.max_steps=null", "trainer.max_epochs=0.01", "data.val_fraction=0.5"))
    assert run is not None
    windows = math.ceil(run.summary["train_tokens"] - 16)
    assert run.summary["step"] == math.ceil(0.01 * windows / 8)


def test_early_stopping_ends_a_run_that_no_longer_gets_better(tiny: Tiny, tmp_path: Path) -> None:
    run = train(
        tiny("optim=sgd", "optim.lr=1e-9", "optim.momentum=0", "trainer.max_steps=50", "eval.every_n_steps=2",
             "trainer.early_stopping_patience=2", "trainer.precision=32-true", "optim.weight_decay=10")
    )  # fmt: skip
    assert run is not None
    assert run.summary["step"] < 50
    assert (tmp_path / "run" / "summary.json").is_file()


def test_the_moving_average_is_what_is_evaluated_and_saved(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("trainer.ema_decay=0.9", "trainer.max_steps=20", "eval.every_n_steps=20"))
    current = weights(tmp_path / "run")["model.wte.weight"]
    saved = load(tmp_path / "run").model.wte.weight
    assert not torch.equal(saved, current)
    assert (saved - current).abs().max() < 0.2


def test_the_learning_rate_search_draws_its_curve_and_is_used(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny("optim=adamw", "trainer.find_lr=true"))
    assert run is not None
    assert (tmp_path / "run" / "lr_search.png").stat().st_size > 5000
    with (tmp_path / "run" / "metrics.csv").open() as file:
        lrs = [float(row["lr"]) for row in csv.DictReader(file) if row["lr"]]
    assert max(lrs) != pytest.approx(1e-3)
    assert 1e-6 <= max(lrs) <= 1


def test_without_a_validation_split_the_last_weights_are_the_model(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny("data.val_fraction=0"))
    assert run is not None
    assert "val/loss" not in run.summary
    torch.testing.assert_close(run.model.wte.weight.data, weights(tmp_path / "run")["model.wte.weight"])


def test_a_test_split_is_scored_once_with_the_best_weights(tiny: Tiny) -> None:
    run = train(tiny("data.test_fraction=0.1"))
    assert run is not None
    assert run.summary["test/loss"] == pytest.approx(run.summary["val/loss"], abs=0.3)


def test_default_starts_get_a_folder_each(tiny: Tiny, tmp_path: Path) -> None:
    words = tiny("trainer.max_steps=1", f"hydra.run.dir={tmp_path}/runs/${{run_name:now}}")
    for name in ("now", "now-2", "now-3"):
        run = train(words)
        assert run is not None
        assert run.path == tmp_path / "runs" / name
        assert (run.path / "summary.json").is_file()
