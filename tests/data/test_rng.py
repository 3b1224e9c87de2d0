"""Counter-based randomness: any part of a stream, in any order, is the same."""

import numpy as np

from microgpt.data import rng


def test_words_are_addressed_by_number() -> None:
    whole = rng.words(5, "data", 0, 1000)
    for start, count in [(0, 1), (1, 1), (3, 2), (4, 4), (17, 500), (999, 1)]:
        assert np.array_equal(rng.words(5, "data", start, count), whole[start : start + count])
    assert len(set(whole.tolist())) == 1000
    assert len(rng.words(5, "data", 10**15, 3)) == 3


def test_values_do_not_change_between_versions() -> None:
    assert rng.words(0, "data", 0, 2).tolist() == [18227649495061619798, 15518213773446732935]
    assert rng.integers(0, "data", 0, 5, below=100).tolist() == [98, 84, 41, 23, 82]
    assert rng.key(0, "dropout", 1) == 2605087691501666250


def test_keys_fit_torch_and_differ_in_every_part() -> None:
    keys = {
        rng.key(seed, stream, step, rank) for seed in (0, 1) for stream in "ab" for step in (0, 1) for rank in (0, 1)
    }
    assert len(keys) == 16
    assert all(0 <= key < 2**63 for key in keys)
    assert rng.key(1, "a", 11) != rng.key(11, "a", 1)


def test_generators_of_a_step_are_equal_and_of_two_steps_differ() -> None:
    draws = [rng.generator(0, "sample", step).random(4).tolist() for step in (3, 3, 4)]
    assert draws[0] == draws[1] != draws[2]


def test_integers_stay_below_their_bound() -> None:
    for below in (1, 2, 7, 2**40):
        draws = rng.integers(0, "x", 0, 1000, below)
        assert draws.min() >= 0
        assert draws.max() < below
        assert draws.dtype == np.int64
