"""Figures of inspected texts: what is drawn is named, with its unit and number, and can be read."""

import numpy as np
import pytest
from small_run import small_run

from microgpt.inspect import head_importance, induction_score
from microgpt.inspect.figures import heat, ink_on

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


def test_no_grid_lies_over_the_colours_and_words_can_be_read_on_each() -> None:
    figure, axes = heat(np.array([[0.0, 1.0], [0.5, np.nan]]), "unit", ["a", "b"], ["c", "d"])
    figure.canvas.draw()
    assert not any(line.get_visible() for line in [*axes.get_xgridlines(), *axes.get_ygridlines()])
    (image,) = axes.images
    assert [ink_on(image, value) for value in (0.0, 1.0, float("nan"))] == ["#111111", "#ffffff", "#111111"]
