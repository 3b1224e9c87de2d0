"""Baselines: equal to the formula written out, and to the entropy where that is known."""

import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
import torch

from microgpt.data.baselines import ngram, order0
from microgpt.errors import DataError


def written_out(train: Any, scored: Any, V: int, order: int) -> float:
    """Witten-Bell by dictionaries."""
    counts: list[Any] = [defaultdict(Counter) for _ in range(order)]
    for i, token in enumerate(train):
        for n in range(min(order, i + 1)):
            counts[n][tuple(train[i - n : i])][token] += 1
    total = 0.0
    for i in range(1, len(scored)):
        p = 1 / V
        for n in range(min(order, i + 1)):
            seen = counts[n].get(tuple(scored[i - n : i]))
            if seen:
                p = (seen[scored[i]] + len(seen) * p) / (seen.total() + len(seen))
        total -= math.log(p)
    return total / (len(scored) - 1)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("V", [3, 300])
def test_ngram_is_witten_bell_written_out(order: int, V: int) -> None:
    rng = np.random.default_rng(0)
    train, scored = rng.integers(0, V, 400) * rng.integers(0, 2, 400), rng.integers(0, V, 100)
    expected = written_out(train.tolist(), scored.tolist(), V, order)
    assert ngram(torch.from_numpy(train), torch.from_numpy(scored), V, order) == pytest.approx(expected, rel=1e-12)


def test_ngram_of_a_large_vocabulary_numbers_its_contexts_without_overflow() -> None:
    V = 70_000
    train, scored = (np.random.default_rng(0).integers(0, V, n) for n in (60_000, 100))
    expected = written_out(train.tolist(), scored.tolist(), V, 3)
    assert ngram(torch.from_numpy(train), torch.from_numpy(scored), V, 3) == pytest.approx(expected, rel=1e-12)


def test_order0_reaches_the_entropy_of_a_memoryless_source() -> None:
    rng = np.random.default_rng(0)
    p = np.array([0.5, 0.25, 0.125, 0.125])
    entropy = 1.75 * math.log(2)
    train, scored = rng.choice(4, 100_000, p=p).astype(np.uint8), rng.choice(4, 20_000, p=p).astype(np.uint8)
    assert order0(train, scored, 4) == pytest.approx(entropy, rel=0.01)


def test_ngram_reaches_the_entropy_of_a_markov_source() -> None:
    rng = np.random.default_rng(0)
    flips = rng.random(120_000) < 0.1
    ids = (np.cumsum(flips) % 2).astype(np.uint8)  # a token differs from the one before it once in ten
    entropy = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert ngram(ids[:100_000], ids[100_000:], 2, order=3) == pytest.approx(entropy, rel=0.02)
    assert order0(ids[:100_000], ids[100_000:], 2) == pytest.approx(math.log(2), rel=0.02)


def test_tokens_never_seen_have_a_price_and_no_infinity() -> None:
    assert ngram([0, 1, 0, 1], [2, 2, 2], 3) < 10
    assert order0([0, 1, 0, 1], [2, 2], 3) == pytest.approx(math.log(7))


def test_a_short_text_is_scored_and_one_token_is_an_error() -> None:
    assert math.isfinite(ngram([0], [0, 1], 2))
    for baseline in (order0, ngram):
        with pytest.raises(DataError, match="1 tokens"):
            baseline([0, 1], [0], 2)
        with pytest.raises(DataError, match="0 tokens"):
            baseline([], [0, 1], 2)


def test_a_context_that_only_ends_the_training_text_is_no_trouble() -> None:
    """ "ab" is last and followed by nothing; after "b", its shorter form, comes "c" in one of two cases."""
    a, b, c, d = range(4)
    loss = ngram([d, b, c, c, b, d, a, b], [d, a, b, c], vocab_size=4, order=3)
    assert np.isfinite(loss)
    assert np.isfinite(ngram([d, b, a], [b, a, d, b, a, c], vocab_size=4, order=5))
