"""Every norm, every MLP and every placement of norms, those to come included, in a model that trains, generates, is
saved and is read again."""

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from microgpt.config import ConfigError, fields
from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig, load_model, save_model
from microgpt.model.files.hf import family_for
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.mlp import MLPConfig
from microgpt.model.norm import NormConfig

NORMS, MLPS, PLACES = sorted(NormConfig.members), sorted(MLPConfig.members), ["pre", "post", "sandwich"]
COMBINATIONS = [
    *({"norm": norm, "norm_place": place} for norm, place in itertools.product(NORMS, PLACES)),
    *({"mlp": mlp, "bias": bias} for mlp, bias in itertools.product(MLPS, [False, True])),
    *({"norm_place": place, "norm_affine": False, "bias": True} for place in PLACES),
    *({"residual": "parallel", "norm_place": place, "norm": "layernorm"} for place in ("pre", "sandwich")),
]
every_combination = pytest.mark.parametrize("parts", COMBINATIONS, ids=lambda parts: "-".join(map(str, parts.values())))


def test_the_published_parts_are_there() -> None:
    assert {"rmsnorm", "layernorm", "none"} <= set(NORMS)
    assert {"gelu", "gelu_tanh", "relu", "relu2", "swiglu", "geglu"} <= set(MLPS)


@every_combination
def test_no_logit_depends_on_a_later_token(make_gpt: Any, ids: Any, parts: dict[str, Any]) -> None:
    """Exactly: the gradient of the logits at t with respect to every later embedding is zero."""
    model, embedded = make_gpt(**parts), []
    model.wte.register_forward_hook(lambda module, args, out: embedded.append(out.requires_grad_()))
    logits, _ = model(ids(2, 10))
    assert logits.shape == (2, 10, 11)
    for t in range(10):
        (grad,) = torch.autograd.grad(logits[:, t].square().sum(), embedded[0], retain_graph=True)
        assert grad[:, t + 1 :].abs().sum() == 0
        assert grad[:, : t + 1].abs().sum(-1).min() > 0


@every_combination
def test_cached_logits_equal_those_of_one_pass(make_gpt: Any, ids: Any, parts: dict[str, Any]) -> None:
    model, x, cache = make_gpt(**parts), ids(2, 12), KVCache(2, 12)
    with torch.no_grad():
        logits = torch.cat([model(piece, cache=cache)[0] for piece in x.split([5, 1, 4, 2], dim=1)], dim=1)
        torch.testing.assert_close(logits, model(x)[0], rtol=1e-4, atol=1e-4)


@every_combination
@pytest.mark.parametrize("init", ["gpt2", "zero"])
def test_the_first_loss_is_that_of_a_guess_and_training_lowers_it(parts: dict[str, Any], init: str) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig.from_dict({"n_layer": 2, "n_embd": 32, "block_size": 16, "init": init, **parts}), 50)
    x = torch.randint(50, (16, 17))
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=1e-2), []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model.loss(x[:, :-1], x[:, 1:])
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[0] == pytest.approx(math.log(50), abs=0.1)
    assert losses[-1] < losses[0] - 0.2
    assert all(p.grad is not None for p in model.parameters())


@every_combination
@pytest.mark.parametrize("init", ["gpt2", "zero"])
def test_the_first_gradient_is_moderate(parts: dict[str, Any], init: str) -> None:
    """A norm of what starts at zero would multiply the gradient by 1 / sqrt(eps) = 316."""
    torch.manual_seed(0)
    model = GPT(GPTConfig.from_dict({"n_layer": 2, "n_embd": 32, "block_size": 16, "init": init, **parts}), 50)
    assert model.head is not None
    nn.init.normal_(model.head.weight, std=0.02)  # a head of zeros would stop all gradients
    x = torch.randint(50, (16, 17))
    model.loss(x[:, :-1], x[:, 1:]).backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert torch.stack(norms).max() < 10


@every_combination
def test_a_saved_model_comes_back_with_its_parts(
    make_gpt: Any, ids: Any, parts: dict[str, Any], tmp_path: Path
) -> None:
    model = make_gpt(**parts)
    save_model(tmp_path, model, {})
    back, _, values = load_model(tmp_path)
    assert back.config == model.config
    assert {name: values["model"][name] for name in parts} == parts  # a part without knobs is one word
    assert torch.equal(back(ids(2, 9))[0], model(ids(2, 9))[0])


@every_combination
def test_what_no_stock_class_has_is_refused_by_name(parts: dict[str, Any]) -> None:
    config = GPTConfig.from_dict(parts)
    stock = {
        "norm": ("rmsnorm",),
        "norm_place": ("pre",),
        "residual": ("sequential",),
        "mlp": ("gelu", "gelu_tanh", "relu", "relu2", "swiglu", "geglu"),
    }
    foreign = [f"{name}={parts[name]}" for name, known in stock.items() if name in parts and parts[name] not in known]
    if config.norm.name == "layernorm":  # GPT-NeoX's, whose residual may be parallel
        foreign = [name for name in foreign if not name.startswith(("norm=", "residual="))]
    if not foreign:
        assert family_for(config).model_type == ("gpt_neox" if config.norm.name == "layernorm" else "llama")
        return
    with pytest.raises(UsageError) as refusal:
        family_for(config)
    assert all(name in str(refusal.value) for name in foreign)


@pytest.mark.parametrize("norm", NORMS)
def test_a_norm_is_built_with_the_weights_that_it_is_asked_for(norm: str) -> None:
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    for has_gain, has_shift in ((False, False), (True, False), (True, True)):
        module = NormConfig.members[norm]().build(8, 1e-5, has_gain, has_shift)
        names = {name for name, _ in module.named_parameters()}
        assert names <= ({"weight"} if has_gain else set()) | ({"bias"} if has_shift else set())
        assert module(x).shape == x.shape
        torch.testing.assert_close(module(x)[1, 2], module(x[1, 2]))  # each token by itself


def test_layernorm_is_torchs_own() -> None:
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    ours, theirs = NormConfig.members["layernorm"]().build(8, 1e-3, True, True), nn.LayerNorm(8, 1e-3)
    assert torch.equal(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


FORMULAS = {
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: x.clamp(min=0),
    "relu2": lambda x: x.clamp(min=0) ** 2,
    "swiglu": lambda x: x * x.sigmoid(),
    "geglu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_mlp_computes_its_papers_formula(make_gpt: Any, name: str) -> None:
    mlp = make_gpt(mlp=name, mlp_hidden=24).blocks[0].mlp
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    wide = x @ mlp.widen.weight.T
    if name in ("swiglu", "geglu"):
        assert mlp.widen.weight.shape == (48, 16)
        gate, value = wide.chunk(2, -1)
        hidden = FORMULAS[name](gate) * value
    else:
        assert mlp.widen.weight.shape == (24, 16)
        hidden = FORMULAS[name](wide)
    torch.testing.assert_close(mlp(x), hidden @ mlp.out.weight.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["swiglu", "geglu"])
def test_a_gated_mlp_weighs_what_another_does(name: str) -> None:
    for width in (128, 384, 768, 4096):
        gated, plain = (
            GPTConfig.from_dict({"n_embd": width, "mlp": name}).hidden * 3,
            GPTConfig(n_embd=width).hidden * 2,
        )
        assert abs(gated - plain) / plain < 0.03


def test_the_mlps_dropout_acts_in_training_alone(make_gpt: Any) -> None:
    for name in MLPS:
        mlp, x = make_gpt(mlp=name, dropout=0.5).blocks[0].mlp, torch.randn(2, 3, 16)
        assert torch.equal(mlp(x), mlp(x))
        assert (mlp.train()(x) == 0).float().mean() > 0.2


def test_norms_stand_where_the_placement_says(make_gpt: Any, ids: Any) -> None:
    """Against the formulas, with a sublayer's own function taken from the block."""
    for place, residual in (
        *((place, "sequential") for place in PLACES),
        ("pre", "parallel"),
        ("sandwich", "parallel"),
    ):
        model = make_gpt(norm="layernorm", norm_place=place, residual=residual, n_layer=1)
        block = model.blocks[0]
        seen: dict[str, Any] = {}
        model.wte.register_forward_hook(lambda m, a, out, seen=seen: seen.update(x=out))
        block.attn.register_forward_hook(lambda m, a, out, seen=seen: seen.update(attn_in=a[0], attn_out=out))
        block.mlp.register_forward_hook(lambda m, a, out, seen=seen: seen.update(mlp_in=a[0], mlp_out=out))
        block.register_forward_hook(lambda m, a, out, seen=seen: seen.update(y=out))
        trunk = model.trunk(ids(2, 6))
        x, a, m = seen["x"], seen["attn_out"], seen["mlp_out"]

        def norm(x: torch.Tensor) -> torch.Tensor:
            return F.layer_norm(x, (16,), eps=1e-5)

        if place == "post":
            inputs = x, norm(x + a)
            y = norm(inputs[1] + m)
        else:
            after = norm if place == "sandwich" else torch.nn.Identity()
            middle = x + after(a)
            inputs = norm(x), norm(x if residual == "parallel" else middle)
            y = middle + after(m)
        torch.testing.assert_close((seen["attn_in"], seen["mlp_in"]), inputs)
        torch.testing.assert_close(seen["y"], y)
        torch.testing.assert_close(trunk, y if place == "post" else norm(y))


def test_placements_add_weights_only_where_they_add_norms() -> None:
    names = {place: set(GPT(GPTConfig.from_dict({"norm_place": place}), 9).state_dict()) for place in PLACES}
    assert names["pre"] - names["post"] == {"norm.weight"}
    added = {f"blocks.{layer}.post_norm{i}.weight" for layer in range(4) for i in (1, 2)}
    assert names["sandwich"] - names["pre"] == added
    assert names["post"] < names["pre"] < names["sandwich"]


def test_zero_init_is_silent_with_norms_after_the_sublayers_too() -> None:
    model = GPT(GPTConfig(init="zero", norm_place="sandwich"), 20)
    x = torch.randint(20, (2, 5))
    assert torch.equal(model.trunk(x), model.norm(model.wte(x)))
    assert model.blocks[0].mlp.out.weight.std() > 0.01  # type: ignore[operator]


def test_configs_written_as_words_or_as_mappings_are_the_same() -> None:
    for values in ({"norm": "layernorm", "mlp": "swiglu"}, {"norm": {"name": "layernorm"}, "mlp": {"name": "swiglu"}}):
        config = GPTConfig.from_dict(values)
        assert (config.norm.name, config.mlp.name) == ("layernorm", "swiglu")
        assert {name: config.to_dict()[name] for name in ("norm", "mlp")} == {"norm": "layernorm", "mlp": "swiglu"}
    for family in (NormConfig, MLPConfig):
        assert not any(fields(member) for member in family.members.values())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"norm": "rms"}, "norm: no norm 'rms'; did you mean 'rmsnorm'?"),
        ({"mlp": "swigl"}, "mlp: no MLP 'swigl'; did you mean 'swiglu'?"),
        ({"mlp": {"name": "gelu", "width": 3}}, "mlp.width: unknown key"),
        ({"mlp": {"width": 3}}, "mlp.name: no MLP None; one of "),
        ({"mlp": {"name": ["gelu"]}}, "mlp.name: no MLP"),
        ({"mlp": 3}, "mlp: 3 is no MLP; one of "),
        ({"norm_place": "before"}, "norm_place: no such choice 'before'"),
        ({"residual": "paralel"}, "residual: no such choice 'paralel'"),
        ({"residual": "parallel", "norm_place": "post"}, "residual 'parallel' adds attention and MLP in one sum"),
    ],
)
def test_a_part_that_does_not_exist_is_refused_with_a_suggestion(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        GPTConfig.from_dict(values)
    assert message in str(refusal.value)


def test_a_new_norm_and_a_new_mlp_are_one_python_file(tmp_path: Path) -> None:
    """In a process of its own: the registry is for all."""
    (tmp_path / "mine.py").write_text("""
from torch import nn
from microgpt.config import Positive
from microgpt.model.mlp import MLP, MLPConfig
from microgpt.model.norm import NormConfig


class HalfConfig(NormConfig, name="half"):
    def build(self, width, eps, has_gain, has_shift):
        return Half()


class Half(nn.Module):
    def forward(self, x):
        return x / 2


class LeakyConfig(MLPConfig, name="leaky"):
    slope: Positive = 0.1
    "Slope of what is negative."

    def build(self, n_embd, hidden, bias, dropout):
        return Leaky(n_embd, hidden, bias, dropout, self.slope)


class Leaky(MLP):
    def __init__(self, n_embd, hidden, bias, dropout, slope):
        super().__init__(n_embd, hidden, bias, dropout)
        self.slope = slope

    def activate(self, x):
        return nn.functional.leaky_relu(x, self.slope)
""")
    script = """
import torch, mine
from microgpt.model import GPT, GPTConfig
config = GPTConfig.from_dict({"norm": "half", "mlp": {"name": "leaky", "slope": 0.25}, "block_size": 8})
assert GPTConfig.from_dict(config.to_dict()) == config
model = GPT(config, 7)
print(tuple(model.generate(torch.zeros(2, 3, dtype=torch.int64), 12).shape), model.blocks[0].mlp.slope, model.norm)
print(config.to_dict()["norm"], config.to_dict()["mlp"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines() == ["(2, 15) 0.25 Half()", "half {'name': 'leaky', 'slope': 0.25}"]
