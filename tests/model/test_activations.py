"""Activations by name: equal to those of a plain implementation, for every part; and free when nobody looks."""

import itertools
from typing import Any

import pytest
import torch
from plain_gpt import PlainGPT
from torch import Tensor, nn

from microgpt.errors import UsageError
from microgpt.inspect import inspect, names
from microgpt.model import GPT
from microgpt.model.mlp import MLPConfig
from microgpt.model.norm import NormConfig
from microgpt.model.pos import Position, PositionConfig

SHIPPED = {
    family: sorted(name for name, member in family.members.items() if member.__module__.startswith("microgpt."))
    for family in (PositionConfig, NormConfig, MLPConfig)
}
CASES: list[dict[str, Any]] = [
    *({"pos": name} for name in SHIPPED[PositionConfig]),
    *(
        {"norm": norm, "norm_place": place, "bias": place != "pre"}
        for norm, place in itertools.product(SHIPPED[NormConfig], ("pre", "post", "sandwich"))
    ),
    *({"mlp": name, "bias": True} for name in SHIPPED[MLPConfig]),
    *({"residual": "parallel", "norm_place": place} for place in ("pre", "sandwich")),
    {"residual": "parallel", "norm": "layernorm", "bias": True, "pos": {"name": "rope", "fraction": 0.5}},
    {"n_kv_head": 2},
    {"n_kv_head": 1, "pos": "t5"},
    {"tie_weights": True},
    {"qk_norm": True},
    {"norm_affine": False},
    {"logit_softcap": 3.0},
    {"ngram_embed": 50},
    {"prev_embed": 2},
    {"value_embed": True},
    {"resid_scale": True},
    {
        "pos": "learned", "n_kv_head": 2, "mlp": "geglu", "tie_weights": True, "bias": True, "norm": "layernorm",
        "ngram_embed": 40, "prev_embed": 3, "value_embed": True, "resid_scale": True, "norm_place": "sandwich",
    },
    {
        "pos": "alibi", "n_kv_head": 2, "mlp": "swiglu", "value_embed": True, "resid_scale": True,
        "norm_place": "post", "norm": "layernorm", "bias": True, "logit_softcap": 5.0, "ngram_embed": 40,
    },
]  # fmt: skip
every_case = pytest.mark.parametrize("knobs", CASES, ids=lambda k: "-".join(f"{a}={b}" for a, b in k.items()))
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5]


@pytest.fixture
def make(make_gpt: Any) -> Any:
    """make(**knobs): a model whose every weight shows, biases, gains and residual scales too."""

    def made(**knobs: Any) -> GPT:
        model: GPT = make_gpt(**knobs)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in model.parameters():
                if knobs.get("norm") == "none":
                    p.mul_(0.3)  # nothing else keeps the stream small
                if p.dim() == 1:
                    p.add_(torch.randn(p.shape, generator=generator), alpha=0.3)
        return model

    return made


@every_case
def test_activations_equal_those_of_a_plain_implementation(make: Any, knobs: dict[str, Any]) -> None:
    model = make(**knobs).double()
    trace, plain = inspect(model, IDS), PlainGPT(model.config.to_dict(), dict(model.state_dict()))
    hooked: dict[str, Tensor] = {}
    with torch.no_grad():
        plain(IDS)  # makes the points
        for key, point in plain.points.items():
            name = key.replace("/", ".")
            point.register_forward_hook(lambda module, args, out, name=name: hooked.__setitem__(name, out))
        plain(IDS)
    for name, value in hooked.items():
        torch.testing.assert_close(
            trace[name],
            value,
            rtol=1e-5,
            atol=1e-5,
            check_dtype=False,
            msg=lambda m, n=name: f"{n}: {m}",  # type: ignore[misc]
        )
    own = {"q", "k", "v", "scores", "probabilities", "z", "out", "qkv", "head.0", "head.3"}
    parts = {f"attn.{part}" for part in own} | {"mlp.hidden", "mlp", "resid.pre", "resid.mid", "resid.post"}
    assert {"embed", "logits", *(f"blocks.{i}.{part}" for i in (0, 1) for part in parts)} <= hooked.keys()


@every_case
def test_names_are_the_ones_that_a_text_gives_and_its_logits_are_the_models(make: Any, knobs: dict[str, Any]) -> None:
    model = make(**knobs)
    trace = inspect(model, IDS)
    assert set(trace) <= set(names(model))
    heads = {name for name in names(model) if ".attn.head." in name}
    silent = {name for name in set(names(model)) - set(trace) - heads if name not in trace}
    position = {"pos.bias", "pos.wpe", "pos.table"}
    assert silent <= position
    with torch.no_grad():
        torch.testing.assert_close(trace["logits"], model(torch.tensor([IDS]))[0][0], rtol=1e-5, atol=1e-5)


def snapshot(model: GPT) -> dict[str, Any]:
    """Everything that looking could leave behind."""
    return {
        path: (
            sorted(key for key in vars(module) if "hooks" not in key),
            [len(value) for key, value in vars(module).items() if "hooks" in key and hasattr(value, "__len__")],
            module.training,
        )
        for path, module in model.named_modules()
    }


def graph(model: GPT) -> str:
    """The operations of a forward pass, as exported."""
    exported = torch.export.export(model, (torch.tensor([IDS]),), strict=False)
    return "\n".join(f"{node.op} {node.target} {node.args}" for node in exported.graph.nodes)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(make: Any, fails: bool) -> None:
    model = make(pos="t5").train()
    before, operations = snapshot(model), graph(model)
    inspect(model, IDS)
    if fails:
        with pytest.raises(ZeroDivisionError), model.patched({"blocks.0.attn.z": lambda x: x / (1 // 0)}):
            model(torch.tensor([IDS]))
    else:
        with model.patched({"blocks.0.attn.z": 0.0}), model.patched({"embed": 1.0}):
            inspect(model, IDS)
    assert snapshot(model) == before
    assert graph(model) == operations
    assert "blocks.0.attn.z" in trace_names(model)


def trace_names(model: GPT) -> list[str]:
    return list(inspect(model, IDS))


def test_an_uninspected_model_calls_no_hook(make: Any) -> None:
    """The exported operations of a model are those of its parts alone: no copy, no mask, no reference attention."""
    operations = graph(make()).splitlines()
    assert sum(" aten.scaled_dot_product_attention.default " in line for line in operations) == 2
    assert not any("softmax" in line for line in operations)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in (MLPConfig, NormConfig, PositionConfig):
        monkeypatch.setattr(family, "members", dict(family.members))


@pytest.mark.usefixtures("own")
def test_parts_of_ones_own_have_names_of_their_own(make: Any) -> None:
    class TwoRoads(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.left(x).tanh() * self.right(x)
            return y

    class TwoRoadsConfig(MLPConfig, name="two roads"):
        def build(self, n_embd: int, hidden: int, bias: bool, dropout: float) -> nn.Module:
            return TwoRoads(n_embd)

    class Halved(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / (1 + x.abs())

    class HalvedConfig(NormConfig, name="halved"):
        def build(self, width: int, eps: float, has_gain: bool, has_shift: bool) -> nn.Module:
            return Halved()

    class Step(Position):
        def embed(self, x: Tensor, start: Any) -> Tensor:
            return x + 0.5

        def bias(self, q_len: int, k_len: int) -> Tensor:
            return torch.ones(1, q_len, k_len).cumsum(-1)

    class StepConfig(PositionConfig, name="step"):
        def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
            return Step()

    model = make(mlp="two roads", norm="halved", pos="step")
    trace = inspect(model, IDS)
    x = trace["blocks.1.norm2"]
    left, right = trace["blocks.1.mlp.left"], trace["blocks.1.mlp.right"]
    mid = trace["blocks.1.resid.mid"]
    torch.testing.assert_close(x, mid / (1 + mid.abs()))
    torch.testing.assert_close(left, model.blocks[1].mlp.left(x))
    torch.testing.assert_close(trace["blocks.1.mlp"], left.tanh() * right)
    torch.testing.assert_close(trace["embed"], trace["wte"] + 0.5)
    assert trace["pos.bias"].shape == (1, 9, 9)
    assert "blocks.1.mlp.hidden" not in trace
    assert trace.attribution().total == pytest.approx(trace.attribution().logit, abs=1e-5)
    with pytest.raises(UsageError, match=r"did you mean 'blocks.1.mlp.left'"):
        trace["blocks.1.mlp.lef"]


def test_a_low_rank_updates_heads_add_up(make: Any) -> None:
    from microgpt.model.lora import LoRAConfig, attach

    model = attach(make(bias=True), LoRAConfig(rank=2))
    with torch.no_grad():
        model.blocks[0].attn.out.lora_b.normal_()  # type: ignore[operator]
    trace = inspect(model, IDS)
    total = sum((trace[f"blocks.0.attn.head.{h}"] for h in range(4)), model.blocks[0].attn.out.bias)  # type: ignore[arg-type, misc]
    torch.testing.assert_close(trace["blocks.0.attn.out"], total.detach())  # type: ignore[attr-defined]
