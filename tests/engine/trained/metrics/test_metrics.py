"""The table of metrics: known values, and a metric of the user's, from training to the comparison of runs."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from microgpt import train
from microgpt.engine.commands import compare, evaluate
from microgpt.engine.trained.evaluate import evaluate as score_model
from microgpt.engine.trained.metrics import Metric, Totals
from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig

Tiny = Callable[..., list[str]]
SHIPPED = ["loss", "bpc", "bpb", "perplexity", "accuracy"]

TOP3 = """
from microgpt.engine.trained.metrics import Metric

class Top3(Metric, name="top3"):
    better = "higher"
    format = progress_format = ".1%"
    headline = True
    hits = 0

    def update(self, batch):
        best = batch.logits.topk(3).indices                         # (b, T, 3)
        self.hits += int(((best == batch.y[..., None]).any(-1) & batch.scored).sum())

    def result(self, totals):
        return self.hits / totals.tokens
"""


@pytest.fixture
def top3(
    tmp_path: Path,
) -> Path:
    path = tmp_path / "top3.py"
    path.write_text(TOP3)
    return path


def test_the_table_is_in_the_customary_order() -> None:
    assert list(Metric.members) == SHIPPED


def test_metrics_follow_from_the_totals() -> None:
    totals = Totals(loss=2.0, tokens=10, chars_per_token=4.0, bytes_per_token=5.0)
    found = {name: Metric.members[name]().result(totals) for name in ("loss", "bpc", "bpb", "perplexity")}
    bits = 2.0 / math.log(2)
    assert found == pytest.approx({"loss": 2.0, "bpc": bits / 4, "bpb": bits / 5, "perplexity": math.exp(2)})


def test_a_perplexity_stays_finite() -> None:
    totals = Totals(loss=1e6, tokens=1, chars_per_token=1.0, bytes_per_token=1.0)
    assert math.isfinite(Metric.members["perplexity"]().result(totals))


def test_numbers_for_people() -> None:
    assert Metric.members["loss"].text(1.46971) == "1.4697 nats per token"
    assert Metric.members["accuracy"].text(0.57123) == "accuracy 57.12%"
    assert Metric.members["bpc"].progress(1.46971) == "val/bpc 1.4697"
    assert Metric.members["accuracy"].progress(0.57123) == "accuracy 57.1%"
    assert Metric.members["bpb"].progress(1.0) == ""


def test_a_name_is_taken_once() -> None:
    with pytest.raises(TypeError, match=r"metric 'loss' is already microgpt\..*\.Loss"):

        class Other(Metric, name="loss"):
            pass

    with pytest.raises(UsageError, match=r"no metric 'los' in --metric; did you mean 'loss'\?"):
        Metric.named("los", "--metric")


def test_a_score_answers_by_name() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8), 7)
    score = score_model(model, torch.arange(30) % 7)
    assert list(score.values) == SHIPPED
    assert [score.loss, score.perplexity] == [score.values["loss"], score.values["perplexity"]]
    assert score.metrics("test")["test/bpb"] == score.bpb
    with pytest.raises(AttributeError, match="no metric 'perplexit'; did you mean 'perplexity'"):
        _ = score.perplexit


def test_a_metric_of_ones_own_is_counted_recorded_resumed_and_compared(
    top3: Path, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    run = train(tiny("data.test_fraction=0.1"))  # before the metric is there: its column comes with the resumed run
    assert run is not None
    assert "val/top3" not in run.summary

    capsys.readouterr()
    run = train(tiny("data.test_fraction=0.1", "trainer.max_steps=9", f"imports=[{top3}]"))
    assert run is not None
    log = (folder / "train.log").read_text()
    assert f"  top3 {run.summary['val/top3']:.1%}  (blocks" in log
    assert f" val/top3 {run.summary['val/top3']:.1%}\n" in log
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["val/accuracy", "val/top3"]
    assert [int(row["step"]) for row in rows if row["val/loss"]] == [3, 6, 9]
    assert [int(row["step"]) for row in rows if row["val/top3"]] == [9]
    shares = [float(row["val/top3"]) for row in rows if row["val/top3"]]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["val/top3"] == pytest.approx(shares[-1], rel=1e-6)
    assert summary["val/accuracy"] < summary["val/top3"] <= 1
    assert 0 < summary["test/top3"] <= 1
    board = EventAccumulator(str(folder)).Reload()
    assert [event.value for event in board.Scalars("val/top3")] == pytest.approx(shares, rel=1e-6)

    capsys.readouterr()
    assert evaluate.main([str(folder), "--import", str(top3), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["top3"] == pytest.approx(summary["val/top3"], rel=1e-6)
    assert list(printed)[3:-2] == [*SHIPPED, "top3"]
    assert evaluate.main([str(folder), "--import", str(top3)]) == 0
    assert f"%   top3 {summary['val/top3']:.1%}\n" in capsys.readouterr().out

    for name, value in (("worse", 0.0), ("better", 1.0)):
        other = tmp_path / name
        other.mkdir()
        (other / "summary.json").write_text(json.dumps({**summary, "val/top3": value}))
        (other / "config.yaml").write_text(f"seed: 1\nmodel:\n  mark: {name}\n")
    runs = [str(tmp_path / name) for name in ("worse", "better")]
    assert compare.main([*runs, "--import", str(top3), "--metric", "val/top3", "--json"]) == 0
    assert [group["mean"] for group in json.loads(capsys.readouterr().out)["groups"]] == [1.0, 0.0]
    assert compare.main([*runs, "--import", str(top3)]) == 0
    assert " top3 " in capsys.readouterr().out.splitlines()[0]
