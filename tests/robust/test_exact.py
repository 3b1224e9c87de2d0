"""A run is a pure function of (config, seed, step): stopped, killed, resumed or cut up otherwise, it is the same."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import campaign_exact
import campaign_kills
from microgpt import train
from microgpt.engine.store import checkpoint
from microgpt.errors import CheckpointError, NonFiniteError

Tiny = Callable[..., list[str]]


def final(path: Path) -> tuple[dict[str, torch.Tensor], object]:
    return checkpoint.read(checkpoint.checkpoints(path / "checkpoints")[0])


@pytest.mark.slow
@pytest.mark.parametrize("case", [campaign_exact.GRID[7], campaign_exact.GRID[9]], ids=str)
def test_resume_is_bit_exact_at_every_step(case: tuple[int, str, str, float], tmp_path: Path) -> None:
    figures = campaign_exact.every_step(tmp_path, [case])
    assert figures["mismatches"] == []
    assert figures["resumes"] == 24


def test_resume_is_bit_exact_with_tmpdir_on_another_file_system(tmp_path: Path) -> None:
    if campaign_exact.another_file_system(tmp_path) is None:
        pytest.skip("no second file system here that can be written")
    before = dict(os.environ), tempfile.gettempdir()
    figures = campaign_exact.every_step_elsewhere(tmp_path, [(4, "32-true", "muon", 0.1)], steps=4)
    assert figures["mismatches"] == []
    assert figures["resumes"] == 4
    assert figures["left in TMPDIR"] == []
    assert Path(figures["TMPDIR"]).stat().st_dev != tmp_path.stat().st_dev
    assert before == (dict(os.environ), tempfile.gettempdir())


def test_micro_batches_of_16_4_and_1_end_within_1e_12(tmp_path: Path) -> None:
    assert campaign_exact.micro_batches(tmp_path)["largest difference"] < 1e-12


@pytest.mark.slow
def test_20_kills_leave_the_same_bits_and_never_half_a_checkpoint(tmp_path: Path) -> None:
    figures = campaign_kills.kills(tmp_path, 20)
    assert figures["passed"], figures
    assert figures["kills"] >= 20
    assert figures["inside a save"] >= 3


def test_a_finished_run_trains_on_when_it_is_made_longer(tiny: Tiny, tmp_path: Path) -> None:
    constant = ("optim.schedule=constant", "optim.warmup_steps=0", "trainer.micro_batch_size=2", "model.dropout=0.1")
    train(tiny(*constant))
    train(tiny(*constant, "trainer.max_steps=11"))
    train(tiny(*constant, "trainer.max_steps=11", f"hydra.run.dir={tmp_path / 'whole'}"))
    assert not campaign_exact.differs(final(tmp_path / "run")[0], final(tmp_path / "whole")[0])
    steps = [row.split(",")[0] for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:]]
    assert [int(step) for step in steps if step] == sorted(int(step) for step in steps)
    assert steps[-1] == "11"


def test_other_micro_batches_workers_and_intervals_continue_a_run(tiny: Tiny, tmp_path: Path) -> None:
    first = tiny(
        "optim=adamw",
        "model.init=gpt2",
        "trainer.precision=64-true",
        "checkpoint.every_n_steps=4",
        "trainer.max_steps=9",
    )
    first.append("checkpoint.keep=5")
    train([*first, "trainer.micro_batch_size=2", "trainer.max_steps=9"])
    whole = final(tmp_path / "run")[0]
    for later in checkpoint.checkpoints(tmp_path / "run" / "checkpoints"):
        if later.name != checkpoint.step_name(4):
            checkpoint.remove(later)
    (tmp_path / "run" / "summary.json").unlink()
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints") != []
    train([*first, "trainer.micro_batch_size=8", "eval.every_n_steps=2", "checkpoint.every_n_steps=3"])
    for name, tensor in final(tmp_path / "run")[0].items():
        assert (tensor - whole[name]).abs().max() < 1e-12


def test_an_early_stop_stays_until_the_patience_grows(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = tiny("optim.lr=1e-9", "optim=adamw", "eval.every_n_steps=1", "trainer.max_steps=9",
                    "trainer.early_stopping_patience=2", "trainer.precision=bf16-true")  # fmt: skip
    run = train(stopping)
    assert run is not None
    stopped_at = run.summary["step"]
    assert stopped_at < 9
    capsys.readouterr()
    train(stopping)
    assert f"stopped early at step {stopped_at}" in capsys.readouterr().out
    run = train([*stopping, "trainer.early_stopping_patience=50"])
    assert run is not None
    assert run.summary["step"] == 9


def test_a_run_killed_after_its_last_checkpoint_only_writes_its_summary(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny())
    assert run is not None
    before = final(tmp_path / "run")[0]
    (tmp_path / "run" / "summary.json").unlink()
    again = train(tiny())
    assert again is not None
    assert again.summary["val/loss"] == run.summary["val/loss"]
    assert not campaign_exact.differs(final(tmp_path / "run")[0], before)


def test_a_found_learning_rate_is_kept(tiny: Tiny, tmp_path: Path) -> None:
    found = tiny("trainer.find_lr=true", "trainer.max_steps=4", "checkpoint.every_n_steps=2", "optim=adamw")
    train(found)
    whole = final(tmp_path / "run")[0]
    checkpoint.remove(tmp_path / "run" / "checkpoints" / checkpoint.step_name(4))
    (tmp_path / "run" / "summary.json").unlink()
    train(found)
    assert not campaign_exact.differs(final(tmp_path / "run")[0], whole)


def test_the_average_of_the_weights_is_what_is_evaluated(tiny: Tiny, tmp_path: Path) -> None:
    run = train(tiny("trainer.ema_decay=0.5", "trainer.max_steps=3"))
    assert run is not None
    weights, state = final(tmp_path / "run")
    average = state["microgpt"]["average"]  # type: ignore[index]
    saved = dict(run.model.named_parameters())
    for (name, parameter), tensor in zip(saved.items(), average, strict=True):
        torch.testing.assert_close(parameter.detach(), tensor)
        assert not torch.equal(tensor, weights[f"model.{name}"])


def test_another_text_under_the_same_path_is_refused_and_a_moved_one_is_not(tiny: Tiny, book: Path) -> None:
    train(tiny())
    moved = book.with_name("moved.txt")
    moved.write_bytes(book.read_bytes())
    assert train(tiny(f"data.path={moved}", "trainer.max_steps=7")) is not None
    book.write_text(book.read_text().upper() + "0123456789")
    with pytest.raises(CheckpointError, match=r"corpus: \w+\.\.\. -> \w+\.\.\., vocab_size: 23 -> 33"):
        train(tiny("trainer.max_steps=8"))


def test_other_science_is_shown_as_config(tiny: Tiny) -> None:
    train(tiny())
    with pytest.raises(CheckpointError, match=r"model\.n_layer: 2 -> 3, seed: 1337 -> 1"):
        train(tiny("model.n_layer=3", "seed=1"))


@pytest.mark.parametrize("optim", ["adamw", "muon", "lion", "sgd"])
def test_a_step_that_is_not_finite_is_skipped_whole(optim: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, at_step=2, value=float("inf"))
    run = train(tiny(f"optim={optim}", "trainer.on_nonfinite=skip", "trainer.micro_batch_size=4"))
    assert run is not None
    assert run.summary["skipped_steps"] == 1
    assert run.summary["step"] == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_before_it_is_saved(
    value: float, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, at_step=3, value=value)
    with pytest.raises(NonFiniteError, match="step 4") as caught:
        train(tiny("checkpoint.every_n_steps=1", "trainer.micro_batch_size=4"))
    assert "step 3 was the last good one" in str(caught.value)
    weights, _ = final(tmp_path / "run")
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[0].name == checkpoint.step_name(3)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_first_loss_that_is_not_finite_is_not_blamed_on_the_learning_rate(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, at_step=0, value=float("nan"))
    with pytest.raises(NonFiniteError, match=r"not finite at step 1 .* no update came before it") as caught:
        train(tiny())
    assert "lower optim.lr" not in str(caught.value)


@pytest.mark.parametrize(
    ("knob", "saved"),
    [("checkpoint.every_n_steps=2", [2]), ("eval.every_n_steps=4", []), ("sample.every_n_steps=4", []),
     ("trainer.log_every_n_steps=4", [])],
)  # fmt: skip
def test_a_gradient_that_is_looked_at_late_ends_the_run_where_it_would_have_ended(
    knob: str, saved: list[int], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microgpt.engine.fit.module import GPTModule

    monkeypatch.setattr(GPTModule, "may_look_late", lambda _: True)  # as on a GPU
    poison(monkeypatch, at_step=3, value=float("nan"))
    never = ["trainer.log_every_n_steps=100", "eval.every_n_steps=0", "sample.every_n_steps=0",
             "checkpoint.every_n_steps=100"]  # fmt: skip
    with pytest.raises(NonFiniteError, match="the loss is not finite at step 4"):
        train(tiny(*never, knob, "trainer.micro_batch_size=4"))
    run = tmp_path / "run"
    names = [path.name for path in checkpoint.checkpoints(run / "checkpoints")]
    assert names == [checkpoint.step_name(step) for step in saved]
    assert not (run / "model").exists()
    assert len((run / "metrics.csv").read_text().splitlines()) == 2  # the names and the first step


def test_weights_that_are_not_finite_are_never_saved(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        train(tiny("optim=sgd", "optim.lr=1e38", "optim.warmup_steps=0", "checkpoint.every_n_steps=1",
                   "trainer.gradient_clip_val=0"))  # fmt: skip
    for path in checkpoint.checkpoints(tmp_path / "run" / "checkpoints"):
        assert all(tensor.isfinite().all() for tensor in checkpoint.read(path)[0].values())


def poison(monkeypatch: pytest.MonkeyPatch, at_step: int, value: float) -> None:
    """Let the loss of one micro-batch be `value` without its gradient showing it."""
    from microgpt.engine.fit.module import GPTModule

    forward = GPTModule.forward

    def poisoned(self: GPTModule, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = forward(self, x, y)
        return loss + value if self.trainer.global_step == at_step else loss

    monkeypatch.setattr(GPTModule, "forward", poisoned)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_every_precision_resumes_bit_for_bit(precision: str, tmp_path: Path) -> None:
    assert campaign_exact.every_step(tmp_path, [(1, precision, "adamw", 0.1)], steps=4)["mismatches"] == []
