"""Figures answer their question: what is drawn, on which scale, with which names and units, on both papers."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt import GPT, GPTConfig
from microgpt.engine.store.run_folder import run_title
from microgpt.engine.trained import figures
from microgpt.engine.trained.drawing import COLOURS, PAPER, draw_baselines, mark, new_figure, smoothed, token_label
from microgpt.engine.trained.evaluate import evaluate

CURVES = {
    "train/loss": [(float(s), 3 - s / 100) for s in range(0, 101, 10)],
    "val/loss": [(50.0, 2.6), (100.0, 2.2)],
    "lr": [(0.0, 0.1), (100.0, 0.0)],
}


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(n_layer=2, n_head=3, n_embd=24, block_size=16, pos="rope"), vocab_size=11)  # type: ignore[arg-type]


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_is_drawn_on_either_paper_in_its_ink(theme: Any, model: GPT, tmp_path: Path) -> None:
    from matplotlib.colors import to_hex
    from matplotlib.text import Text

    ids = torch.arange(60) % 11
    score = evaluate(model, ids)
    drawn = [
        figures.learning_curves(CURVES, "run", {"5-gram counts": 2.5}, theme),
        figures.loss_by_position(score, theme),
        figures.report(CURVES, {}, score, "run $5", theme),
        figures.attention_maps(model, ids, ["\n", " ", "$", "\u4e2d", "\x07", *"abcdefghijk"], theme),
        figures.lr_search([1e-4, 1e-3, 1e-2], [3.0, 2.0, 4.0], 1e-3, theme),
    ]
    paper, ink = PAPER[theme]
    for i, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{i}.png")  # warnings, as for a glyph that is missing, are errors
        assert to_hex(figure.get_facecolor()) == to_hex(paper)
        colours = {to_hex(text.get_color()) for text in figure.findobj(Text) if text.get_text()}
        assert colours == {to_hex(ink)}
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_attention_has_a_scale_per_head_token_names_and_a_bar(model: GPT) -> None:
    ids = torch.arange(12) % 11
    figure = figures.attention_maps(model, ids, list("abcdefghijkl"))
    axes, bar = figure.axes
    (image,) = axes.get_images()
    tiles = image.get_array().filled(math.nan) if hasattr(image.get_array(), "filled") else image.get_array()
    with torch.no_grad():
        _, _, attention = model.eval()(ids[None], return_attention=True)
    for layer in range(2):
        for head in range(3):
            tile = torch.as_tensor(tiles[layer * 15 : layer * 15 + 12, head * 13 : head * 13 + 12])
            weights = attention[layer][0, head]
            largest = float(weights[3:].max())
            assert torch.isnan(tile[torch.ones(12, 12).triu(1).bool()]).all()  # the future is paper, not zero
            assert float(tile[3:].nan_to_num().max()) == pytest.approx(1.0)
            assert float(tile[8, 2]) == pytest.approx(min(1.0, float(weights[8, 2]) / largest), rel=1e-5)
            assert f"layer {layer} head {head}, largest {largest:.2f}" in texts(figure)
    assert [label.get_text() for label in axes.get_yticklabels()] == list("abcdefghijkl") * 2
    assert [label.get_text() for label in axes.get_xticklabels()] == list("abcdefghijkl") * 3
    assert "share of the head's largest" in bar.get_ylabel()
    assert "attention: 3 of 3 heads, 2 of 2 layers, 12 tokens" in texts(figure)


def test_the_band_of_the_loss_by_position_is_the_interval_of_the_mean(model: GPT) -> None:
    torch.manual_seed(1)
    ids = torch.randint(11, (16 * 40 + 1,))
    score = evaluate(model, ids)
    with torch.no_grad():
        logits, _ = model.eval()(ids[:-1].view(40, 16))
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[1:], reduction="none").view(40, 16).double()
    expected = losses.std(0) / math.sqrt(40)
    torch.testing.assert_close(torch.tensor(score.position_errors, dtype=torch.float64), expected, rtol=1e-4, atol=0)
    (axes,) = figures.loss_by_position(score).axes
    low = axes.collections[0].get_paths()[0].get_extents().y0
    assert low == pytest.approx(float((losses.mean(0) - 1.96 * expected).min()), rel=1e-4)
    assert "n = 640 tokens" in axes.get_title()


def test_learning_curves_show_training_validation_best_and_baselines() -> None:
    (axes,) = figures.learning_curves(CURVES, "run", {"5-gram counts": 2.5, "token frequencies": 9.0}).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        "training, 11 batches", "validation, n = 2", "best: 2.2000 at step 100",
        "token frequencies: 9.000 (above)", "5-gram counts: 2.500",
    ]  # fmt: skip
    assert axes.get_ylim()[1] < 3.5  # a far baseline does not flatten the curves
    assert axes.get_ylabel() == "loss (nats per token)"


def test_a_mean_of_the_training_loss_is_drawn_where_it_is_one() -> None:
    long = {"train/loss": [(float(step), 3.0 - step / 100) for step in range(60)]}
    (axes,) = figures.learning_curves(long, "run").axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["training, 60 batches", "training, mean of 2"]


def test_a_sweeps_point_is_named_with_its_sweep(tmp_path: Path) -> None:
    for name, title in {"sweeps/lr/0": "lr/0", "runs/mine": "mine"}.items():
        (tmp_path / name).mkdir(parents=True)
        assert run_title(tmp_path / name) == title


def test_series_differ_by_more_than_colour() -> None:
    looks = [(m["marker"], m["linestyle"]) for m in map(mark, range(10))]
    assert len(set(looks)) == 10
    assert len({(m["color"], m["marker"], m["linestyle"]) for m in map(mark, range(40))}) == 40


def test_colours_are_seen_on_white_and_on_black() -> None:
    from matplotlib.colors import to_rgb

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 2.0
        assert (luminance(colour) + 0.05) / (luminance(PAPER["dark"][0]) + 0.05) >= 3.0


def test_tokens_have_labels_that_can_be_seen() -> None:
    assert [token_label(token) for token in (" ", "\n", "a", "", "\u4e2d", "$")] == ["␣", "↵", "a", "∅", "□", r"\$"]


def test_smoothing_is_the_mean_of_what_came_before() -> None:
    assert smoothed([1.0, 2.0, 3.0, 4.0], 2) == [1.0, 1.5, 2.5, 3.5]


def test_a_near_baseline_is_inside_the_axes() -> None:
    _, axes = new_figure(3, 2)
    draw_baselines(axes, [1.0, 2.0], {"near": 2.5}, "light")
    assert axes.get_ylim()[1] > 2.5
