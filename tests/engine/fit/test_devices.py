"""Several processes train what one would: the same batches, the same loss, checkpoints that any number continues."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from microgpt import train
from microgpt.engine.trained.run import Run
from microgpt.errors import NonFiniteError, UsageError

EXACT = ("trainer.precision=64-true", "optim=adamw", "model.dropout=0")
Tiny = Callable[..., list[str]]


def trained(overrides: list[str]) -> Run:
    run = train(overrides)
    assert run is not None
    return run


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def differs(a: Run, b: Run) -> float:
    return max(
        float((p - q).detach().abs().max()) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True)
    )


def test_two_ranks_learn_what_one_process_learns(tiny: Tiny, tmp_path: Path) -> None:
    one = trained(tiny(*EXACT))
    two = trained(tiny(*EXACT, "trainer.devices=2", "trainer.micro_batch_size=2", f"hydra.run.dir={tmp_path / 'two'}"))
    assert two.summary["world_size"] == 2
    assert abs(one.summary["val/loss"] - two.summary["val/loss"]) < 1e-10
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "run"), abs=1e-7)
    assert differs(one, two) < 1e-6  # model/ is float32
    left = [name for name in ("RANK", "WORLD_SIZE", "MASTER_PORT", "LOCAL_RANK") if name in os.environ]
    assert left == []  # the next run of this process starts clean


def test_shared_weights_learn_the_same_and_any_strategy_continues_any(tiny: Tiny, tmp_path: Path) -> None:
    # A schedule that does not depend on the length of the run, which here grows.
    common = ("optim=adamw", "trainer.ema_decay=0.5", "optim.schedule=constant", "optim.warmup_steps=0")
    fsdp = (*common, f"hydra.run.dir={tmp_path / 'shared'}", "trainer.devices=2", "trainer.strategy=fsdp")
    expected = trained(tiny(*common))
    trained(tiny(*fsdp, "trainer.max_steps=2", "sample.every_n_steps=2"))
    trained(tiny(*fsdp, "trainer.max_steps=4", "trainer.devices=1"))
    shared = trained(tiny(*fsdp))
    assert shared.summary["step"] == 6
    assert differs(expected, shared) < 1e-5
    assert losses(tmp_path / "shared") == pytest.approx(losses(tmp_path / "run"), abs=1e-5)


def test_an_error_of_a_rank_ends_all_and_is_ours(tiny: Tiny) -> None:
    with pytest.raises(NonFiniteError, match="the loss is not finite at step 3"):
        train(tiny("trainer.devices=2", "optim=sgd", "optim.lr=1e38", "trainer.gradient_clip_val=0"))


def test_what_cannot_be_shared_is_refused_before_there_is_a_folder(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be shared evenly by 3 devices"):
        train(tiny("trainer.devices=3"))
    with pytest.raises(UsageError, match=r"find_lr: it searches on one device, not on 2"):
        train(tiny("trainer.devices=2", "trainer.find_lr=true"))
    with pytest.raises(UsageError, match="not started on 2 nodes"):
        train(tiny("trainer.num_nodes=2"))
    assert not (tmp_path / "run").exists()


def test_a_signal_reaches_the_ranks_which_save_and_go_on_later(tiny: Tiny, tmp_path: Path) -> None:
    overrides = tiny("trainer.devices=2", "trainer.max_steps=2000", "eval.every_n_steps=0")
    command = [sys.executable, "-m", "microgpt.engine.commands.train", *overrides]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.csv"
    end = time.monotonic() + 120
    while not metrics.is_file() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.1)
    launched = (tmp_path / "run" / ".launch.json").read_bytes()
    with pytest.raises(UsageError, match=f"process {process.pid} on .* is training"):
        train([*overrides, "seed=5"])
    assert (tmp_path / "run" / ".launch.json").read_bytes() == launched  # a rank that starts late reads it
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.count("stopped by SIGTERM") == 1
    (newest,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    step = json.loads((newest / "manifest.json").read_text())["step"]
    run = trained(tiny("trainer.devices=2", f"trainer.max_steps={step + 2}", "eval.every_n_steps=0"))
    assert run.summary["step"] == step + 2
    assert len(losses(tmp_path / "run")) == step + 2
