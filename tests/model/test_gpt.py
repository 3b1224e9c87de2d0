"""The model: how it starts, its loss, its parts, its figures."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microgpt.config import ConfigError
from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig
from microgpt.model.embeddings import with_before
from microgpt.model.generation.kv_cache import KVCache

OPTIONS = [
    {"norm": "layernorm"},
    {"norm": "layernorm", "bias": True},
    {"norm_affine": False},
    {"mlp": "swiglu"},
    {"norm_place": "sandwich"},
    {"residual": "parallel", "pos": {"name": "rope", "fraction": 0.5}},
    {"mlp_hidden": 24},
    {"bias": True},
    {"tie_weights": True},
    {"qk_norm": True},
    {"n_kv_head": 1},
    {"n_kv_head": 2},
    {"dropout": 0.1},
    {"logit_softcap": 15.0},
    {"init": "zero"},
    {"attention": "sdpa"},
    {"attention": "reference"},
    {"ngram_embed": 1000},
    {"prev_embed": 2},
    {"value_embed": True},
    {"resid_scale": True},
    {"pos": "learned", "n_kv_head": 2, "mlp": "swiglu", "tie_weights": True, "bias": True},
]
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))


@every_option
def test_first_loss_is_that_of_a_guess_and_training_lowers_it(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    V = 50
    model = GPT(GPTConfig.from_dict({"n_embd": 32, "block_size": 16, **options}), V)
    x = torch.randint(V, (16, 17))
    _, loss = model(x[:, :-1], x[:, 1:])
    assert abs(loss.item() - math.log(V)) < 0.1
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(8):
        optimizer.zero_grad()
        _, now = model(x[:, :-1], x[:, 1:])
        now.backward()
        optimizer.step()
    assert now < loss - 0.2
    assert all(p.grad is not None for p in model.parameters())


@every_option
def test_config_survives_a_round_trip(options: dict[str, Any]) -> None:
    config = GPTConfig.from_dict(options)
    assert GPTConfig.from_dict(config.to_dict()) == config
    assert config == GPTConfig() or config.to_dict() != GPTConfig().to_dict()


@pytest.mark.parametrize("init", ["gpt2", "zero"])
def test_every_preset_size_starts_at_ln_v(init: str) -> None:
    for V in (2, 65, 5000):
        torch.manual_seed(V)
        model = GPT(GPTConfig.from_dict({"n_embd": 96, "n_head": 3, "n_layer": 6, "init": init}), V)
        _, loss = model(torch.randint(V, (4, 64)), torch.randint(V, (4, 64)))
        assert abs(loss.item() - math.log(V)) < 0.1


def test_weights_start_as_gpt2s_do() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=8, n_embd=256, n_head=4, bias=True), 100)
    residual = 0.02 / math.sqrt(16)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert p.abs().max() == 0
        elif p.dim() == 1:
            assert torch.equal(p, torch.ones_like(p))
        else:
            assert p.std().item() == pytest.approx(residual if ".out." in name else 0.02, rel=0.03), name


def test_zero_init_starts_with_silent_blocks_and_head() -> None:
    model = GPT(GPTConfig(init="zero"), 20)
    x = torch.randint(20, (2, 5))
    assert model(x)[0].abs().max() == 0
    torch.testing.assert_close(model.trunk(x), model.norm(model.wte(x)))


def test_weights_are_a_function_of_the_seed() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [p.detach() for p in GPT(GPTConfig(ngram_embed=8, value_embed=True), 9).parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(1), weights(1), strict=True))
    assert not torch.equal(weights(1)[0], weights(2)[0])


def test_loss_is_mean_nats_per_counted_token(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x, y = make_gpt(), ids(3, 7), ids(3, 7, seed=2)
    logits, loss = model(x, y)
    each = -logits.log_softmax(-1).gather(-1, y[..., None])[..., 0]
    torch.testing.assert_close(loss, each.mean())
    torch.testing.assert_close(model(x, y, reduction="none")[1], each)
    torch.testing.assert_close(model(x, y, reduction="sum")[1], each.sum())
    y[0, :4] = -100
    torch.testing.assert_close(model(x, y)[1], torch.cat((each[0, 4:], each[1:].flatten())).mean())
    assert model(x)[1] is None


def test_attention_probabilities_come_on_request(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x = make_gpt(n_layer=3, n_kv_head=2, pos="t5"), ids(2, 9)
    logits, loss, attention = model(x, targets=x, return_attention=True)
    expected, expected_loss = model(x, x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-5)
    assert [tuple(p.shape) for p in attention] == [(2, 4, 9, 9)] * 3
    for p in attention:
        torch.testing.assert_close(p.sum(-1), torch.ones(2, 4, 9), rtol=0, atol=1e-5)
        assert p.triu(1).abs().max() == 0


def test_dropout_acts_in_training_alone(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    model, x = make_gpt(dropout=0.3), ids(2, 8)
    assert torch.equal(model(x)[0], model(x)[0])
    model.train()
    assert not torch.equal(model(x)[0], model(x)[0])


def test_softcap_bounds_the_logits(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    x = ids(2, 8)
    plain, _ = make_gpt()(x)
    capped, _ = make_gpt(logit_softcap=2.0)(x)
    assert plain.abs().max() > 2
    torch.testing.assert_close(capped, 2 * torch.tanh(plain / 2))


def test_a_tied_head_is_the_embedding(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    tied, free = make_gpt(tie_weights=True), make_gpt()
    assert "head.weight" in free.state_dict()
    assert "head.weight" not in tied.state_dict()
    assert free.num_params() - tied.num_params() == 11 * 16
    x = ids(2, 5)
    torch.testing.assert_close(tied(x)[0], tied.trunk(x) @ tied.wte.weight.T)


@pytest.mark.parametrize(
    ("part", "knobs", "first", "last"),
    [("ngram", {"ngram_embed": 5000}, -2, 0), ("prev", {"prev_embed": 2}, -2, -1), ("prev", {"prev_embed": 5}, -5, -1)],
)
def test_embeddings_of_tokens_before_see_exactly_theirs(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], part: str, knobs: dict[str, Any], first: int, last: int
) -> None:
    module = getattr(make_gpt(**knobs), part)
    x = ids(1, 8)
    y = module(with_before(x, module.reach, None))
    for t in range(8):
        for changed in range(8):
            other = x.clone()
            other[0, changed] = (other[0, changed] + 1) % 11
            z = module(with_before(other, module.reach, None))
            assert torch.equal(z[:, t], y[:, t]) == (not t + first <= changed <= t + last)
    cache, found = KVCache(1, 8), []
    for piece in x.split([1, 4, 3], dim=1):
        found.append(module(with_before(piece, module.reach, cache)))
    assert torch.equal(torch.cat(found, dim=1), y)


def test_each_distance_before_has_rows_of_its_own(make_gpt: Callable[..., GPT]) -> None:
    prev = make_gpt(prev_embed=2).prev
    rows = prev.rows.weight.view(2, 12, -1)  # distance 2, distance 1; row 0 is what is before the beginning
    y = prev(with_before(torch.tensor([[3, 7, 5]]), 2, None))  # type: ignore[misc]
    expected = rows[0, 0] + rows[1, 0], rows[0, 0] + rows[1, 4], rows[0, 4] + rows[1, 8]
    torch.testing.assert_close(y[0], torch.stack(expected))


def test_prev_embed_stays_within_the_context() -> None:
    assert GPTConfig(prev_embed=63).prev_embed == 63
    with pytest.raises(ConfigError, match="prev_embed 64 looks beyond a context of 64; prev_embed=63 at most"):
        GPTConfig(prev_embed=64)


def test_residual_scales_start_as_a_plain_gpt(ids: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    plain = GPT(GPTConfig(), 11)
    torch.manual_seed(0)
    scaled = GPT(GPTConfig(resid_scale=True), 11)
    x = ids(2, 8)
    assert torch.equal(scaled(x)[0], plain(x)[0])
    with torch.no_grad():
        scaled.embed_scale[2] = 0.5  # type: ignore[index]
    assert not torch.equal(scaled(x)[0], plain(x)[0])


def test_gpt2_has_its_published_number_of_weights() -> None:
    config = GPTConfig.from_dict(
        {"n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "pos": "learned",
         "norm": "layernorm", "mlp": "gelu_tanh", "bias": True, "tie_weights": True}
    )  # fmt: skip
    with torch.device("meta"):
        model = GPT(config, 50257)
    assert model.num_params() == 124_439_808
    assert model.num_params(non_embedding=True) == 124_439_808 - 1024 * 768
    table = list(model.parameter_table())
    assert sum(count for _, _, count in table) == model.num_params()
    assert table[0] == ("wte.weight", (50257, 768), 50257 * 768)


def test_flops_are_those_of_the_hand_formula() -> None:
    model = GPT(GPTConfig(n_layer=2, n_embd=8, n_head=2, block_size=16), 10)
    matrices = 2 * (8 * 24 + 8 * 8 + 8 * 32 + 32 * 8) + 8 * 10
    assert model.flops_per_token() == 6 * matrices + 12 * 2 * 8 * 16
    model.head.weight.requires_grad_(False)
    assert model.flops_per_token() == 6 * matrices - 2 * 8 * 10 + 12 * 2 * 8 * 16


@pytest.mark.parametrize(
    "knobs",
    [
        {}, {"tie_weights": True}, {"mlp": "swiglu"}, {"n_kv_head": 2}, {"bias": True, "norm": "layernorm"},
        {"value_embed": True, "ngram_embed": 100, "resid_scale": True, "prev_embed": 3},
        {"qk_norm": True, "mlp": "relu2"},
    ],
)  # fmt: skip
def test_flops_are_those_that_torch_counts(knobs: dict[str, Any]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = GPT(GPTConfig(n_layer=3, n_embd=64, n_head=4, block_size=32, attention="reference", **knobs), 65)
    x = torch.zeros(2, 32, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(x, targets=x)[1].backward()
    assert counter.get_total_flops() == 2 * 32 * model.flops_per_token()


def test_more_tokens_than_the_context_are_refused(make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]) -> None:
    with pytest.raises(UsageError, match="13 tokens for a context of 12 in the model's input; crop it"):
        make_gpt()(ids(1, 13))


def test_sizes_that_do_not_divide_are_refused_with_both_numbers_and_a_fix() -> None:
    with pytest.raises(ConfigError, match="n_embd: n_embd 100 is not a multiple of n_head 3; n_embd=99 is"):
        GPTConfig(n_embd=100, n_head=3)
    with pytest.raises(ConfigError, match="n_kv_head: n_kv_head 4 does not divide n_head 6; one of 1, 2, 3, 6"):
        GPTConfig(n_embd=96, n_head=6, n_kv_head=4)
    with pytest.raises(ConfigError, match=r"init: .*tie_weights"):
        GPTConfig(init="zero", tie_weights=True)
    with pytest.raises(ConfigError, match=r"dropout: 1\.0 is out of range"):
        GPTConfig(dropout=1.0)
    with pytest.raises(ConfigError, match=r"pos: no position scheme 'ropee'; did you mean 'rope'\?"):
        GPTConfig.from_dict({"pos": "ropee"})
    with pytest.raises(UsageError, match="vocab_size 0"):
        GPT(GPTConfig(), 0)


def test_the_model_learns_a_pattern_that_needs_attention() -> None:
    """A sequence that repeats itself: the second half can be known from the first alone."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=16, qk_norm=True), 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(250):
        half = torch.randint(8, (32, 8))
        x = torch.cat((half, half), 1)
        _, loss = model(x[:, :-1], x[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    each = model(x[:, :-1], x[:, 1:], reduction="none")[1]
    assert each[:, 8:].mean() < 0.3
    assert each[:, :6].mean() > 1.5
