"""The presets of `debug=`: each does what it says, in seconds, and leaves what it promises."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from microgpt import train
from microgpt.data.windows import Windows
from microgpt.engine.store.metrics_file import read_curves
from microgpt.engine.trained.verdict import overfits

Tiny = Callable[..., list[str]]


@pytest.fixture
def words(tiny: Tiny) -> list[str]:
    """A tiny run without the knobs that the presets set."""
    kept = ("data.path", "model", "trainer.precision", "trainer.progress", "hydra", "sample.max_new_tokens")
    return [word for word in tiny() if word.startswith(kept)]


def test_one_batch_is_learnt_by_heart_and_it_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    train([*words, "debug=overfit", "trainer.max_steps=150"])
    found = re.search(
        r"It overfits one batch: the training loss fell from (\S+) to (\S+) nats", capsys.readouterr().out
    )
    assert found is not None
    assert float(found[2]) < 0.05 * float(found[1])


def test_what_does_not_learn_is_said() -> None:
    assert overfits([(1, 3.0), (200, 2.0)]).startswith("It does not overfit one batch: the training loss fell from 3.0")


def test_repeated_batches_are_the_first_of_random() -> None:
    ids = torch.arange(500) % 50
    same, random = (Windows(ids, 8, 4, 3, sampling) for sampling in ("repeat", "random"))
    for step in (0, 1, 5000):
        assert (same.offsets(step) == random.offsets(0)).all()


def test_two_steps_of_everything(words: list[str], tmp_path: Path) -> None:
    train([*words, "debug=fast"])
    folder = tmp_path / "run"
    curves = read_curves(folder / "metrics.csv")
    assert [step for step, _ in curves["val/loss"]] == [step for step, _ in curves["train/loss"]] == [1, 2]
    assert (folder / "report.png").is_file()
    assert list((folder / "checkpoints").glob("step-*"))


def test_a_profile_opens_in_a_browser(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KINETO_LOG_LEVEL", raising=False)
    train([*words, "debug=profile", "trainer.compile=false"])
    assert "profiler_start" not in capfd.readouterr().err
    page = (tmp_path / "run" / "profile.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<p>5 steps, " in page
    assert '<meta name="viewport" content="width=device-width">' in page  # a phone shows it at its own width
    assert "aten::" in page
    assert "http" not in page  # it needs nothing else
    assert json.loads((tmp_path / "run" / "trace.json").read_text())["traceEvents"]


def test_every_shape_of_a_forward_pass(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train([*words, "debug=shapes"])
    text = (tmp_path / "run" / "shapes.txt").read_text()
    assert text in capsys.readouterr().out + "\n"
    row = next(line for line in text.splitlines() if line.split()[0] == "blocks.0.attn.qkv")
    assert row.split(maxsplit=2)[2].startswith("(2, 16, 48)")
    assert "(2, 16, 144)" in row
    assert "weight (144, 48)" in row
    assert text.splitlines()[-1].split()[0] == "GPT"
