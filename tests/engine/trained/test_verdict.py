"""What a run's score means, in words: each course of a run has its sentence, and all numbers have one unit."""

import math

import pytest

from microgpt.engine.trained.verdict import Verdict, bits_per_character, score_table

COUNTING = {"token frequencies": 4.5, "5-gram counts": 2.5}
FALLING = [(100.0, 2.0), (200.0, 1.8), (300.0, 1.7), (400.0, 1.6)]


@pytest.mark.parametrize(
    ("bits", "curve", "said"),
    [
        (2.2, FALLING, "Better than 5-gram counts by 0.30 bits; still falling (5.9 % since step 300): "
         "train longer, with trainer.max_steps=800."),
        (3.0, FALLING[:1], "Better than token frequencies by 1.50 bits, and worse than 5-gram counts by 0.50."),
        (4.9, [], "Better than guessing, and worse than token frequencies by 0.40 bits."),
        (6.5, [], "No better than guessing: the model has learnt nothing, try a lower optim.lr or more steps."),
        (2.2, [(100.0, 2.0), (200.0, 1.6), (300.0, 1.7), (400.0, 1.76)], "Better than 5-gram counts by 0.30 bits; "
         "overfitted since step 200 (10.0 % worse at step 400): more text, model.dropout or a smaller model would "
         "help, more steps would not."),
        (2.2, [(100.0, 1.7), (200.0, 1.602), (300.0, 1.602), (400.0, 1.6)], "Better than 5-gram counts by 0.30 bits; "
         "level since step 300: more steps alone will not help much."),
    ],
)  # fmt: skip
def test_each_course_of_a_run_has_its_sentence(bits: float, curve: list[tuple[float, float]], said: str) -> None:
    assert str(Verdict(bits, COUNTING, 6.0, curve, 400)) == said


def test_noise_of_the_last_evaluation_is_no_overfitting() -> None:
    curve = [(100.0, 1.7), (200.0, 1.600), (300.0, 1.6005), (400.0, 1.602)]
    assert "level" in Verdict(2.0, COUNTING, 6.0, curve, 400).course()


def test_two_steps_that_try_everything_get_no_advice() -> None:
    assert Verdict(5.0, COUNTING, 6.0, [(1.0, 5.5), (2.0, 5.0)], 2).course() == ""


def test_a_score_stands_among_the_baselines_in_order() -> None:
    assert score_table(3.0, COUNTING) == [
        "  5-gram counts      2.5000",
        "  this model         3.0000",
        "  token frequencies  4.5000",
    ]


def test_bits_per_character_are_nats_per_token_over_ln_2_and_characters_per_token() -> None:
    assert bits_per_character(2 * math.log(2), 4.0) == pytest.approx(0.5)
