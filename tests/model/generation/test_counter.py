"""The counter-based generator: SplitMix64's published numbers, one for each row, the same on every machine."""

from collections.abc import Callable

import pytest
import torch

from microgpt.engine.trained.sample import GenerationParams
from microgpt.errors import UsageError
from microgpt.model import GPT
from microgpt.model.generation.sampling import CounterGenerator, uniforms

PUBLISHED = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821)
"""The reference implementation's first numbers for the seed 1234567 (https://prng.di.unimi.it/splitmix64.c)."""


def test_the_numbers_are_splitmix64s() -> None:
    generator = CounterGenerator(1234567)
    assert [generator.draw() for _ in PUBLISHED] == [(word >> 40) / 2**24 for word in PUBLISHED]
    largest = CounterGenerator(2**64 - 1)
    assert 0 <= largest.draw() < 1


def test_each_row_takes_the_next_number_and_they_are_uniform() -> None:
    generator, same = CounterGenerator(3), CounterGenerator(3)
    drawn = uniforms(2000, generator, torch.device("cpu"))
    assert drawn.shape == (2000, 1)
    assert drawn.dtype is torch.float32
    assert drawn[:, 0].tolist() == [same.draw() for _ in range(2000)]
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.005)


def test_generation_with_it_is_reproducible_and_leaves_torchs_own_untouched(make_gpt: Callable[..., GPT]) -> None:
    model, x = make_gpt(), torch.tensor([[1, 2], [3, 4]])
    state = torch.get_rng_state()
    texts = [model.generate(x, 30, generator=CounterGenerator(seed)) for seed in (1, 1, 2)]  # type: ignore[arg-type]
    assert torch.equal(texts[0], texts[1])
    assert not torch.equal(texts[0], texts[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_settings_choose_it_by_name() -> None:
    cpu = torch.device("cpu")
    assert isinstance(GenerationParams(seed=1).sampling(cpu).generator, torch.Generator)
    chosen = GenerationParams(seed=1, generator="counter").sampling(cpu).generator
    assert isinstance(chosen, CounterGenerator)
    assert chosen.draw() == CounterGenerator(1).draw()
    with pytest.raises(UsageError, match="it is 'torch' or 'counter'"):
        GenerationParams(generator="dice")  # type: ignore[arg-type]
