"""Figures of inspected texts: what is drawn is named, with its unit and number, and can be read."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from small_run import small_run

from microgpt.engine.trained.drawing import PAPER, Theme
from microgpt.inspect import head_importance, induction_score
from microgpt.inspect.figures import heat, ink_on
from microgpt.inspect.heads import HeadScores
from microgpt.inspect.history import InductionHistory

TEXT = "to be, or not"


def test_every_figure_has_a_title_and_a_unit() -> None:
    run = small_run()
    trace = run.inspect(TEXT)
    bits = trace.surprisal().bits_per_character
    titles = {
        trace.surprisal: f"surprisal, n = 12 predicted tokens\n{bits:.3f} bits per character",
        trace.logit_lens: "logit lens: the likeliest next token\ncolour: the text's own next token",
        lambda: trace.top(4): "the 4 likeliest after o␣be,␣or␣not",
        lambda: trace.attention(1, 2): "layer 1, head 2, 13 tokens",
        lambda: head_importance(run, TEXT): "loss rise without each head, n = 12 characters",
        lambda: induction_score(run): "induction, n = 8 texts of 2 x 8 tokens",
    }
    for result, title in titles.items():
        axes = result().plot().axes
        assert axes[0].get_title() == title
        assert axes[-1].get_ylabel() in (
            "surprisal (bits)", "probability", "attention", "bits per character", "induction score"
        )  # fmt: skip


def test_attention_is_drawn_on_the_heads_own_scale_and_the_future_is_blank() -> None:
    attention = small_run().inspect(TEXT).attention(0, 1)
    (image,) = attention.plot().axes[0].images
    drawn = image.get_array()
    assert image.norm.vmax == pytest.approx(attention.weights[3:].max())
    assert bool(np.ma.getmaskarray(drawn)[np.triu_indices(13, 1)].all())
    assert not np.ma.getmaskarray(drawn)[np.tril_indices(13)].any()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_figure_has_the_paper_and_ink_of_its_theme(theme: Theme) -> None:
    run = small_run()
    trace = run.inspect(TEXT)
    history = InductionHistory(np.array([[1.0, 0.1], [2.0, 0.4]]), {"val/loss": np.array([[1.0, 3.0], [2.0, 2.0]])})
    results = (trace.surprisal(), trace.logit_lens(), trace.top(4), trace.attention(1, 2), trace.attribution(),
               head_importance(run, TEXT), induction_score(run), history)  # fmt: skip
    paper, ink = map(to_rgba, PAPER[theme])
    for result in results:
        figure = result.plot(theme)
        figure.canvas.draw()
        assert figure.get_facecolor() == figure.axes[0].get_facecolor() == paper
        assert figure.axes[0].get_axisbelow() is True  # the grid is below bars and lines
        assert figure.axes[0].get_title()
        assert "black" not in {text.get_color() for text in figure.axes[0].texts}
        for axes in figure.axes:
            words = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title, axes.xaxis.label, axes.yaxis.label]
            assert {to_rgba(word.get_color()) for word in words} == {ink}, type(result).__name__
            assert {to_rgba(spine.get_edgecolor()) for spine in axes.spines.values()} == {ink}
            legend = axes.get_legend()
            assert legend is None or to_rgba(legend.get_frame().get_facecolor())[:3] == paper[:3]


def test_a_small_table_of_scores_has_its_numbers_and_a_large_one_does_not() -> None:
    for heads, written in ((4, ["0.000", "1.000", "2.000", "3.000", "-4.000", "5.000", "6.000", "7.000"]), (40, [])):
        values = np.arange(2.0 * heads).reshape(2, heads)
        values[1, 0] *= -1
        figure = HeadScores("scores", "bits", values).plot()
        assert [text.get_text() for text in figure.axes[0].texts] == written
        figure.canvas.draw()
        box, inner = figure.bbox, figure.axes[0].title.get_window_extent()
        assert box.x0 <= inner.x0
        assert inner.x1 <= box.x1


def test_no_grid_lies_over_the_colours_and_words_can_be_read_on_each() -> None:
    figure, axes = heat(np.array([[0.0, 1.0], [0.5, np.nan]]), "unit", ["a", "b"], ["c", "d"], "light")
    figure.canvas.draw()
    assert not any(line.get_visible() for line in [*axes.get_xgridlines(), *axes.get_ygridlines()])
    (image,) = axes.images
    assert [ink_on(image, value) for value in (0.0, 1.0, float("nan"))] == ["#111111", "#ffffff", "black"]
