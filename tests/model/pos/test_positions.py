"""Every position scheme, those to come included: the same tokens whichever way they are computed, and no look ahead."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from microgpt.config import ConfigError
from microgpt.model import GPT, GPTConfig, PositionConfig
from microgpt.model.generation.compiled import StaticStep, next_logits
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.generation.sampling import SamplingParams, sample
from microgpt.model.pos.alibi import slopes
from microgpt.model.pos.rope import RoPE
from microgpt.model.pos.sinusoidal import Sinusoidal
from microgpt.model.pos.t5 import buckets

SCHEMES = sorted(PositionConfig.members)
EXTRAS = {"n_kv_head": 2, "ngram_embed": 40, "prev_embed": 2, "value_embed": True, "qk_norm": True}
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def test_the_six_schemes_are_there() -> None:
    assert {"rope", "learned", "sinusoidal", "alibi", "none", "t5"} <= set(SCHEMES)


@every_scheme
@pytest.mark.parametrize("options", [{}, EXTRAS])
def test_sdpa_and_reference_with_and_without_cache_make_the_same_tokens(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str, options: dict[str, Any]
) -> None:
    """Over 40 tokens of a context of 12, so that the window is read anew several times."""
    made = []
    for attention in ("sdpa", "reference"):
        model = make_gpt(pos=scheme, attention=attention, **options)
        for use_cache in (True, False):
            made.append(model.generate(ids(3, 5), 40, do_sample=False, use_cache=use_cache))
    assert all(torch.equal(tokens, made[0]) for tokens in made)
    assert len(made[0][:, 5:].unique()) > 3


@every_scheme
def test_cached_logits_equal_those_of_one_pass(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str
) -> None:
    model = make_gpt(pos=scheme, **EXTRAS)
    x = ids(2, 12)
    for pieces in ([1] * 12, [5, 1, 4, 2], [11, 1]):
        cache = KVCache(2, 12)
        with torch.no_grad():
            logits = torch.cat([model(piece, cache=cache)[0] for piece in x.split(pieces, dim=1)], dim=1)
            torch.testing.assert_close(logits, model(x)[0], rtol=0, atol=1e-4)


@every_scheme
@pytest.mark.parametrize("attention", ["sdpa", "reference", "auto"])
def test_no_logit_depends_on_a_later_token(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str, attention: str
) -> None:
    """Exactly: the gradient of the logits at t with respect to every later embedding is zero."""
    model = make_gpt(pos=scheme, attention=attention)
    embedded = []
    model.wte.register_forward_hook(lambda module, args, out: embedded.append(out.requires_grad_()))
    logits, _ = model(ids(1, 10))
    for t in range(10):
        (grad,) = torch.autograd.grad(logits[:, t].square().sum(), embedded[0], retain_graph=True)
        assert grad[:, t + 1 :].abs().sum() == 0
        assert grad[:, : t + 1].abs().sum(-1).min() > 0


@every_scheme
def test_a_scheme_but_none_knows_the_order(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str
) -> None:
    """One layer without position cannot tell the order of what came before; every other can."""
    model = make_gpt(pos=scheme, n_layer=1)
    x = ids(1, 8)
    swapped = x[:, [1, 0, 2, 3, 4, 5, 6, 7]]
    assert x[0, 0] != x[0, 1]
    with torch.no_grad():
        difference = (model(x)[0][:, -1] - model(swapped)[0][:, -1]).abs().max()
    assert (difference < 1e-5) == (scheme == "none")


@pytest.mark.parametrize("scheme", ["rope", "alibi", "t5", "none"])
def test_a_shift_of_all_positions_changes_no_logit(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_gpt(pos=scheme, block_size=64)
    with torch.no_grad():
        logits, _ = model(ids(2, 10))
        rotate, bias = model.pos.rotate, model.pos.bias
        monkeypatch.setattr(model.pos, "rotate", lambda q, k, start: rotate(q, k, start + 40))
        monkeypatch.setattr(model.pos, "bias", lambda q, k: shifted(bias, q, k))
        moved, _ = model(ids(2, 10))
    torch.testing.assert_close(moved, logits, rtol=0, atol=1e-4)


def shifted(bias: Callable[..., Tensor | None], q_len: int, k_len: int) -> Tensor | None:
    """The biases between tokens 40 further on."""
    far = bias(q_len, k_len + 40)
    return None if far is None else far[:, :, 40:]


@every_scheme
def test_constants_survive_a_change_of_type_and_are_not_saved(make_gpt: Callable[..., GPT], scheme: str) -> None:
    model = make_gpt(pos=scheme)
    before = {name: table.clone() for name, table in model.pos.named_buffers()}
    model.bfloat16()
    for name, table in model.pos.named_buffers():
        assert table.dtype == before[name].dtype
        assert torch.equal(table, before[name])
    saved = model.state_dict()
    assert not any(f"pos.{name}" in saved for name in before)
    with torch.device("meta"):
        skeleton = GPT(model.config, model.vocab_size)
    skeleton.to_empty(device="cpu").load_state_dict(saved)
    for name, table in skeleton.pos.named_buffers():
        assert torch.equal(table, before[name])


@every_scheme
@pytest.mark.parametrize("options", [{}, {"dropout": 0.1, "attention": "reference"}, EXTRAS])
def test_all_is_computed_on_the_device_that_the_model_is_on(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str, options: dict[str, Any]
) -> None:
    """On torch's device without memory, which refuses tensors of another as a GPU does."""
    model, x = make_gpt(pos=scheme, **options).to("meta"), ids(2, 12).to("meta")
    model.train().loss(x, x).backward()
    assert all(p.grad is None or p.grad.is_meta for p in model.parameters())
    model.eval()
    with torch.no_grad():
        cache, step = KVCache(2, 12), StaticStep(next_logits, lambda step, device: step)
        made = [next_logits(model, x[:, :3], cache), next_logits(model, x[:, 3:4], cache)]
        params = SamplingParams(temperature=0.8, top_k=5, top_p=0.9, min_p=0.1)
        tokens = [sample(logits, params) for logits in made]
        tokens += [step.next_token(model, x[:, t : t + 1], cache, params) for t in range(4, 7)]
    assert {(token.is_meta, token.shape) for token in tokens} == {(True, (2,))}
    assert cache.length == 7


@every_scheme
def test_bfloat16_weights_and_autocast_are_near_float32(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str
) -> None:
    model, x = make_gpt(pos=scheme), ids(2, 12)
    with torch.no_grad():
        exact, loss = model(x, x)
        with torch.autocast("cpu", torch.bfloat16):
            mixed, mixed_loss = model(x, x)
        rough, rough_loss = model.bfloat16()(x, x)
    assert rough.dtype == mixed.dtype == torch.bfloat16
    assert loss.dtype == mixed_loss.dtype == rough_loss.dtype == torch.float32
    assert (mixed - exact).abs().mean() < 0.05 * exact.abs().mean()
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses parts that torch has deprecated
@every_scheme
def test_compiled_training_and_generation_equal_eager(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str
) -> None:
    torch.compiler.reset()
    eager, compiled = make_gpt(pos=scheme), make_gpt(pos=scheme)
    compiled.compile(fullgraph=True)
    x, y = ids(2, 12), ids(2, 12, seed=2)
    for model in (eager, compiled):
        model.train()
        model(x, y)[1].backward()
    for (name, a), b in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert list(eager.state_dict()) == list(compiled.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(compiled(x)[0], eager(x)[0], rtol=0, atol=1e-4)
    prompt = ids(2, 3)
    for use_cache in (True, False):
        expected = eager.generate(prompt, 30, do_sample=False, use_cache=use_cache)
        assert torch.equal(compiled.generate(prompt, 30, do_sample=False, use_cache=use_cache), expected)


# What each scheme computes.


def test_rope_turns_each_pair_by_its_angle() -> None:
    D, theta = 6, 100.0
    x = torch.arange(1.0, D + 1).expand(1, 1, 4, D)
    turned, _ = RoPE(D, 8, theta).rotate(x, x, start=3)
    for t in range(4):
        for i in range(D // 2):
            z = complex(x[0, 0, t, i], x[0, 0, t, i + D // 2])
            angle = (3 + t) * theta ** (-2 * i / D)
            z *= complex(math.cos(angle), math.sin(angle))
            assert turned[0, 0, t, i].item() == pytest.approx(z.real, abs=1e-5)
            assert turned[0, 0, t, i + D // 2].item() == pytest.approx(z.imag, abs=1e-5)


def test_rope_turns_a_fraction_of_a_head_as_a_narrower_head_and_passes_the_rest(make_gpt: Callable[..., GPT]) -> None:
    x = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    partial = make_gpt(n_embd=64, pos={"name": "rope", "fraction": 0.375}).pos
    for q in partial.rotate(x, x, 2):
        assert torch.equal(q[..., :6], RoPE(6, 12, 10_000.0).rotate(x[..., :6], x[..., :6], 2)[0])
        assert torch.equal(q[..., 6:], x[..., 6:])
    for width, fraction, near in ((6, 0.5, 0.3334), (12, 0.3, 0.1667), (2, 0.5, 1)):
        with pytest.raises(ConfigError, match=f"fraction={near:g} is a whole number of pairs"):
            GPTConfig.from_dict({"n_head": 1, "n_embd": width, "pos": {"name": "rope", "fraction": fraction}})
        GPTConfig.from_dict({"n_head": 1, "n_embd": width, "pos": {"name": "rope", "fraction": near}})
    for fraction in (0, 1.01, -1):
        with pytest.raises(ConfigError, match=r"pos\.fraction"):
            GPTConfig.from_dict({"pos": {"name": "rope", "fraction": fraction}})


def test_rope_keeps_lengths() -> None:
    x = torch.randn(2, 3, 8, 16, generator=torch.Generator().manual_seed(0))
    q, _ = RoPE(16, 8, 10_000.0).rotate(x, x, 0)
    torch.testing.assert_close(q.norm(dim=-1), x.norm(dim=-1))


def test_alibi_slopes_are_the_papers() -> None:
    assert slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    assert slopes(4).tolist() == [2**-2, 2**-4, 2**-6, 2**-8]
    expected = [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]
    assert slopes(6).tolist() == pytest.approx(expected)
    assert [len(slopes(n)) for n in range(1, 20)] == list(range(1, 20))


def test_t5_buckets_are_exact_then_logarithmic() -> None:
    got = buckets(torch.tensor([0, 1, 15, 16, 18, 19, 127, 128, 10_000]), 32, 128)
    assert got.tolist() == [0, 1, 15, 16, 16, 17, 31, 31, 31]
    assert buckets(torch.arange(4), 1, 8).tolist() == [0, 0, 0, 0]


def test_sinusoidal_waves_are_the_papers() -> None:
    wave = Sinusoidal(4, 3, 10_000.0, 1.0).wave
    expected = [[math.sin(t), math.cos(t), math.sin(t / 100), math.cos(t / 100)] for t in range(3)]
    torch.testing.assert_close(wave, torch.tensor(expected))


def test_rope_refuses_an_odd_head_width() -> None:
    with pytest.raises(ConfigError, match=r"pos: .*15 / 5 = 3 is odd; choose n_embd a multiple of 2 \* n_head"):
        GPTConfig(n_embd=15, n_head=5)
    assert GPTConfig.from_dict({"n_embd": 15, "n_head": 5, "pos": "alibi"}).head_width == 3


def test_t5_refuses_a_distance_within_the_exact_buckets() -> None:
    with pytest.raises(ConfigError, match=r"pos.max_distance: max_distance 16 is not above half of num_buckets 32"):
        GPTConfig.from_dict({"pos": {"name": "t5", "max_distance": 16}})


def test_a_new_scheme_is_one_python_file(tmp_path: Path) -> None:
    """In a process of its own: the registry is for all."""
    (tmp_path / "decay.py").write_text("""
from microgpt.config import Positive
from microgpt.model import Position, PositionConfig


class DecayConfig(PositionConfig, name="decay"):
    rate: Positive = 0.5
    "How fast the past fades."

    def build(self, n_embd, n_head, block_size):
        return Decay(self.rate)


class Decay(Position):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def embed(self, x, start):
        return x * (1 + self.rate) ** -start
""")
    script = """
import torch, decay
from microgpt.model import GPT, GPTConfig
config = GPTConfig.from_dict({"pos": {"name": "decay", "rate": 0.1}, "block_size": 8})
assert GPTConfig.from_dict(config.to_dict()) == config
model = GPT(config, 7)
print(tuple(model.generate(torch.zeros(2, 3, dtype=torch.int64), 12).shape), model.pos.rate)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "(2, 15) 0.1"
