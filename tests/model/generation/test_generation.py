"""Generation: reproducible, the same with and without a cache, sampling what it says, refusing what it cannot do."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from microgpt import GPT
from microgpt.errors import NonFiniteError, UsageError
from microgpt.model.generation.sampling import SamplingParams, choose, sample
from microgpt.model.generation.stream import stream


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("block_size", [1, 2, 3, 12])
@pytest.mark.parametrize("prompt", [1, 3, 12, 20])
def test_sampling_with_a_cache_equals_sampling_without(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], block_size: int, prompt: int
) -> None:
    model, x = make_gpt(block_size=block_size, pos="learned"), ids(2, prompt)
    options: dict[str, Any] = {"temperature": 0.8, "top_k": 7, "top_p": 0.95, "min_p": 0.01}
    cached = model.generate(x, 30, generator=seeded(), **options)
    assert torch.equal(cached, model.generate(x, 30, generator=seeded(), use_cache=False, **options))
    assert cached.shape == (2, prompt + 30)
    assert torch.equal(cached[:, :prompt], x)
    assert not torch.equal(cached, model.generate(x, 30, generator=seeded(1), **options))


def test_without_a_generator_torchs_own_seed_reproduces(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]
) -> None:
    model = make_gpt()
    torch.manual_seed(5)
    first = model.generate(ids(2, 4), 10)
    torch.manual_seed(5)
    assert torch.equal(model.generate(ids(2, 4), 10), first)


def test_a_generator_leaves_torchs_own_untouched(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    state = torch.get_rng_state()
    model = make_gpt()
    state = torch.get_rng_state()
    model.generate(ids(2, 4), 10, generator=seeded())
    assert torch.equal(torch.get_rng_state(), state)


def test_past_the_context_the_last_half_is_kept(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, window = make_gpt(), ids(1, 12)
    made = model.generate(window, 14, do_sample=False)[0, 12:].tolist()
    for token in made:
        assert model(window)[0][0, -1].argmax() == token
        window = torch.cat((window, torch.tensor([[token]])), 1)
        window = window[:, -6:] if window.shape[1] > 12 else window


def test_temperature_zero_is_greedy(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x = make_gpt(), ids(2, 4)
    greedy = model.generate(x, 20, do_sample=False)
    assert torch.equal(model.generate(x, 20, temperature=0), greedy)
    assert torch.equal(model.generate(x, 20, temperature=1e-5, generator=seeded()), greedy)
    assert torch.equal(model.generate(x, 20, top_k=1), greedy)
    assert torch.equal(model.generate(x, 20, top_p=1e-9), greedy)
    assert torch.equal(model.generate(x, 20, min_p=1.0), greedy)


def test_streaming_yields_what_generate_returns(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x = make_gpt(), ids(3, 4)
    tokens = list(stream(model, x, 20, SamplingParams(generator=seeded())))
    assert [t.shape for t in tokens] == [(3,)] * 20
    assert torch.equal(torch.stack(tokens, 1), model.generate(x, 20, generator=seeded())[:, 4:])


def test_greedy_rows_do_not_depend_on_each_other(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x = make_gpt(), ids(4, 6)
    together = model.generate(x, 20, do_sample=False)
    for row in range(4):
        assert torch.equal(model.generate(x[row : row + 1], 20, do_sample=False)[0], together[row])


def test_stopped_rows_repeat_the_stop_token_until_all_have_stopped(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]
) -> None:
    model, x = make_gpt(), ids(4, 3)
    free = model.generate(x, 60, generator=seeded())
    stop = 3
    got = model.generate(x, 60, stop_token=stop, generator=seeded())
    ends = []
    for row in range(4):
        new = free[row, 3:].tolist()
        ends.append(new.index(stop) + 1 if stop in new else 60)
        assert got[row, 3 : 3 + ends[-1]].tolist() == new[: ends[-1]]
        assert (got[row, 3 + ends[-1] :] == stop).all()
    assert len(set(ends)) > 1
    assert got.shape[1] == 3 + max(ends)


def test_mode_and_gradients_are_as_before(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x = make_gpt(dropout=0.5), ids(1, 3)
    for mode in (True, False):
        model.train(mode)
        made = model.generate(x, 5, do_sample=False)
        assert model.training is mode
        assert torch.is_grad_enabled()
        assert torch.equal(made, model.eval().generate(x, 5, do_sample=False))
    model.train()
    tokens = stream(model, x, 5)
    next(tokens)
    assert torch.is_grad_enabled()
    tokens.close()  # type: ignore[attr-defined]
    assert model.training
    model(made)[0].sum().backward()  # what was made can be trained on


def test_no_new_tokens_is_the_prompt_itself(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    x = ids(2, 4)
    made = make_gpt().generate(x, 0)
    assert torch.equal(made, x)
    assert made.data_ptr() != x.data_ptr()


# What is sampled.

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -math.inf])


def frequencies(n: int = 20_000, **options: Any) -> torch.Tensor:
    params = SamplingParams(**{"generator": seeded(), **options})
    return choose(LOGITS.expand(n, -1), params).bincount(minlength=6) / n


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(0)
    assert (frequencies(temperature=temperature) - expected).abs().max() < 0.015
    assert frequencies(temperature=temperature)[5] == 0


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, [0, 1]),
        ({"top_k": 6}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.55}, [0]),
        ({"top_p": 0.57}, [0, 1]),  # the first has 0.561
        ({"top_p": 1.0}, [0, 1, 2, 3, 4]),
        ({"min_p": 0.2}, [0, 1, 2]),  # exp(-1.5) = 0.223, exp(-2) = 0.135
        ({"min_p": 0.0}, [0, 1, 2, 3, 4]),
        ({"top_k": 3, "top_p": 0.8}, [0, 1]),  # 0.629 and 0.231 of the three: the third is past 0.8
    ],
)
def test_filters_keep_the_likeliest(options: dict[str, Any], kept: list[int]) -> None:
    weights = torch.zeros(6)
    weights[kept] = LOGITS.exp()[kept]
    assert (frequencies(**options) - weights / weights.sum()).abs().max() < 0.015
    assert frequencies(**options).nonzero().flatten().tolist() == kept


def test_extreme_temperatures_and_logits_stay_finite() -> None:
    cold, hot = (SamplingParams(temperature=t, generator=seeded()) for t in (1e-5, 1e30))
    assert sample(torch.tensor([[1e30, -1e30, 3.0]]), cold).item() == 0
    assert set(sample(LOGITS[:5].expand(500, -1), hot).tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature -0.1"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"temperature": math.inf}, "temperature inf"),
        ({"top_k": 0}, "top_k 0"),
        ({"top_k": -3}, "top_k -3"),
        ({"top_k": 12}, "top_k 12 in generation; it must be 1 to 11"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.1}, "top_p 1.1"),
        ({"top_p": math.nan}, "top_p nan"),
        ({"min_p": -0.1}, "min_p -0.1"),
        ({"min_p": 1.1}, "min_p 1.1"),
        ({"max_new_tokens": -1}, "max_new_tokens -1"),
        ({"stop_token": 11}, "stop_token 11"),
        ({"idx": torch.zeros(1, 0, dtype=torch.int64)}, "an empty prompt"),
        ({"idx": torch.zeros(0, 3, dtype=torch.int64)}, "an empty prompt"),
        ({"idx": torch.tensor([[3, 11]])}, "token 11 of a vocabulary of 11"),
        ({"idx": torch.tensor([[-1, 3]])}, "token -1 of a vocabulary of 11"),
        ({"idx": torch.tensor([1, 2])}, r"shape \(2,\)"),
        ({"idx": torch.zeros(1, 2)}, "torch.float32"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_token(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], options: dict[str, Any], message: str
) -> None:
    arguments = {"idx": ids(1, 3), "max_new_tokens": 5, **options}
    params = SamplingParams(**{name: arguments.pop(name) for name in options if name not in ("idx", "max_new_tokens")})
    with pytest.raises(UsageError, match=message):
        stream(make_gpt(), **arguments, params=params)
    with pytest.raises(UsageError, match=message):
        make_gpt().generate(**{"idx": ids(1, 3), "max_new_tokens": 5, **options})


def test_a_broken_model_says_so(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model = make_gpt()
    with torch.no_grad():
        model.wte.weight[:] = math.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        model.generate(ids(1, 3), 5)


def test_the_largest_random_number_draws_a_token_of_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    # Rounded up, its product with the sum of the probabilities is that sum: one draw in some millions.
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, 1.0))
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    for top_k in (None, 2, 3):
        token = sample(logits, SamplingParams(top_k=top_k))
        assert token.tolist() == [2 if top_k is None else top_k - 1]


@pytest.mark.parametrize("top_k", [None, 2])
def test_logits_that_become_nan_later_are_refused_too(make_gpt: Callable[..., GPT], top_k: int) -> None:
    model = make_gpt()
    with torch.no_grad():
        model.wte.weight[1:] = math.nan
    with pytest.raises(NonFiniteError, match="not finite"):
        model.generate(torch.zeros(16, 1, dtype=torch.int64), 4, generator=seeded(), top_k=top_k)
