"""Figures of a comparison: honest titles, sorted legends, baselines, a heat map and parallel coordinates."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microgpt.engine.compare import figures
from microgpt.engine.compare.compare import Comparison, Group
from microgpt.engine.compare.knob_figures import heat_map, parallel_coordinates
from microgpt.engine.compare.runs import RunRecord

BASELINES = {"token frequencies": 3.2, "5-gram counts": 1.6}


def comparison(*knobs: tuple[str, list[Any]]) -> Comparison:
    """A group for each combination of values, two seeds each; the first is the best."""
    names = tuple(name for name, _ in knobs)
    groups = []
    for i, values in enumerate(itertools.product(*(values for _, values in knobs))):
        run = RunRecord(Path("nowhere"), summary={"baselines": BASELINES, "train_seconds": 10.0 + i})
        groups.append(Group(dict(zip(names, values, strict=True)), (run,), {"1": 1.5 + i / 100, "2": 1.51 + i / 100}))
    return Comparison("val/loss", names, tuple(groups))


def legend(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


@pytest.mark.parametrize(
    ("values", "title"),
    [(range(16), "val/loss by lr, mean ± std over seeds, n = 2"),
     (range(3), "val/loss by lr, mean ± std over seeds, n = 2")],
)  # fmt: skip
def test_a_title_says_best_of_only_if_something_is_left_out(values: range, title: str) -> None:
    whole = figures._score_by(comparison(("lr", list(values))), "lr", "light")
    assert whole is not None
    assert whole.axes[0].get_title() == title
    many = figures._score_by(comparison(("lr", [1, 2]), ("n", list(range(16)))), "lr", "light")
    assert many is not None
    assert many.axes[0].get_title().endswith("(best 10 of 16 lines)")
    assert len(many.axes[0].lines) >= 10


def test_a_title_speaks_of_seeds_only_where_there_are_several() -> None:
    both = comparison(("lr", [1, 2]))
    alone = Comparison(both.metric, both.knobs, tuple(replace(g, scores={"1": g.scores["1"]}) for g in both.groups))
    for draw in (lambda c: figures._score_by(c, "lr", "light"), lambda c: figures._quality_by_time(c, "light")):
        several, one = draw(both), draw(alone)
        assert several is not None
        assert one is not None
        assert several.axes[0].get_title().endswith(", mean ± std over seeds, n = 2")
        assert one.axes[0].get_title().endswith(", one run each")


def test_legends_are_sorted_by_value() -> None:
    drawn = figures._score_by(comparison(("n", [12, 2, 4]), ("lr", [1, 2])), "lr", "light")
    assert drawn is not None
    assert legend(drawn) == ["n=2", "n=4", "n=12"]


def test_curves_show_training_validation_and_baselines(tmp_path: Path) -> None:
    rows = ["step,train/loss,val/loss", *(f"{s},{2 - s / 100},{'' if s % 20 else 2.1 - s / 100}" for s in range(100))]
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    run = RunRecord(tmp_path, summary={"baselines": BASELINES})
    drawn = figures._curves(Comparison("val/loss", (), (Group({}, (run,), {"1": 1.3}),)), "light")
    assert drawn is not None
    assert legend(drawn) == ["all runs: 1.3000 (n = 1)", "token frequencies: 3.200 (above)", "5-gram counts: 1.600"]
    training, validation, *lines = drawn.axes[0].lines
    assert training.get_alpha() >= 0.5
    assert validation.get_marker() != "None"
    assert len(lines) == 2
    assert drawn.axes[0].get_ylabel() == "val/loss (nats per token)"


def test_two_knobs_make_a_heat_map_with_every_mean_and_a_star() -> None:
    drawn = heat_map(comparison(("lr", [0.1, 0.01]), ("n", [2, 10, 4])), "light")
    assert drawn is not None
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "4", "10"]
    cells = [text.get_text() for text in axes.texts]
    assert len(cells) == 6
    assert sum(cell.startswith("★") for cell in cells) == 1
    assert "★ 1.5050" in cells
    assert drawn.axes[1].get_ylabel() == "val/loss (nats per token)"
    assert heat_map(comparison(("lr", [1, 2])), "light") is None
    assert heat_map(comparison(("lr", [1, 2]), ("n", [3])), "light") is None


def test_three_knobs_make_parallel_coordinates() -> None:
    made = comparison(("lr", [1, 2]), ("n", [3, 4]), ("pos", ["rope", "alibi", "none"]))
    drawn = parallel_coordinates(made, "light")
    assert drawn is not None
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["lr", "n", "pos", "val/loss\n(nats per token)"]
    settings = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(settings) == 12
    assert [line.get_linestyle() for line in settings].count("--") == 1
    assert settings[-1].get_ydata()[-1] == 0  # the best, drawn last
    top = max(line.get_zorder() for line in settings)
    for value in axes.texts:  # no line crosses a value
        assert value.get_bbox_patch() is not None
        assert value.get_zorder() > top
    assert parallel_coordinates(comparison(("lr", [1, 2]), ("n", [3, 4])), "light") is None
