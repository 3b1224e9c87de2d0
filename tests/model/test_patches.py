"""Replacing activations: the same as a model whose weights were changed by hand, and nothing else changes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from microgpt.errors import UsageError
from microgpt.inspect import at, induction_score, inspect, mean, names, zero
from microgpt.model import GPT
from microgpt.model.generation import compiled

OPTIONS: list[dict[str, Any]] = [
    {},
    {"pos": "learned", "norm": "layernorm", "bias": True, "tie_weights": True},
    {"pos": "alibi", "n_kv_head": 2, "mlp": "swiglu", "norm_place": "sandwich"},
    {"pos": "t5", "n_kv_head": 1, "norm_place": "post", "value_embed": True},
    {"residual": "parallel", "pos": {"name": "rope", "fraction": 0.5}, "norm": "layernorm", "bias": True},
    {"pos": "sinusoidal", "ngram_embed": 40, "prev_embed": 2, "resid_scale": True, "qk_norm": True},
    {"pos": "none", "mlp": "geglu", "bias": True, "logit_softcap": 4.0},
]
every_option = pytest.mark.parametrize("knobs", OPTIONS, ids=lambda k: "-".join(f"{a}={b}" for a, b in k.items()))


def silence(model: GPT, name: str) -> None:
    """Zero the weights that make a part, by hand."""
    parts = name.split(".")
    block, D = model.blocks[int(parts[1])], model.config.head_width
    out = block.mlp.out if parts[2] == "mlp" else block.attn.out
    if "head" in parts:
        head = int(parts[-1])
        out.weight[:, head * D : (head + 1) * D] = 0  # type: ignore[operator]
        return
    out.weight.zero_()  # type: ignore[operator]
    if out.bias is not None:
        out.bias.zero_()  # type: ignore[operator]


@every_option
@pytest.mark.parametrize(
    "ablated",
    [("blocks.1.attn.head.3",), ("blocks.0.attn.head.0", "blocks.0.attn.head.2"), ("blocks.0.mlp",), ("blocks.1.attn",),
     ("blocks.0.attn.out", "blocks.1.mlp.out")],
)  # fmt: skip
@torch.no_grad()
def test_zero_ablation_equals_a_model_with_weights_zeroed_by_hand(
    make_gpt: Any, ids: Any, knobs: dict[str, Any], ablated: tuple[str, ...]
) -> None:
    model, other, x = make_gpt(**knobs).double(), make_gpt(**knobs).double(), ids(3, 10)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        if p.dim() == 1:  # biases and gains that show
            p.add_(torch.linspace(-0.2, 0.5, len(p)))
            q.copy_(p)
    for name in ablated:
        silence(other, name)
    plain, expected = model(x)[0], other(x)[0]
    with model.patched(dict.fromkeys(ablated, zero)):
        torch.testing.assert_close(model(x)[0], expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(plain, expected, atol=1e-3)
    assert torch.equal(model(x)[0], plain)


@every_option
@torch.no_grad()
def test_every_activation_of_one_text_makes_another_texts_logits(
    make_gpt: Any, ids: Any, knobs: dict[str, Any]
) -> None:
    """Patching in a whole stream gives the other text's logits; patching in an activation's own value changes
    nothing."""
    model, x, y = make_gpt(**knobs).double(), ids(1, 10), ids(1, 10, seed=5)
    theirs, own = inspect(model, y[0]), inspect(model, x[0])
    for place in ("pre", "mid", "post"):
        if place == "pre" and knobs.get("value_embed"):
            continue  # the layer's values have an embedding of the tokens, which are the other text's
        if place == "mid" and knobs.get("residual") == "parallel":
            continue  # the MLP reads the layer's input
        with model.patched({f"blocks.1.resid.{place}": theirs[f"blocks.1.resid.{place}"]}):
            found = model(x)[0][0]
        torch.testing.assert_close(found, theirs["logits"], rtol=1e-9, atol=1e-9)
    for name in [n for n in names(model) if n in own]:
        with model.patched({name: own[name]}):
            torch.testing.assert_close(model(x)[0][0], own["logits"], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_one_position_of_another_text_changes_only_what_follows(make_gpt: Any, ids: Any) -> None:
    model, x, y = make_gpt(), ids(1, 10), ids(1, 10, seed=5)
    theirs, plain = inspect(model, y[0]), model(x)[0]
    name = "blocks.0.resid.post"
    with model.patched({name: at(6, theirs[name])}):
        trace = inspect(model, x[0])
    assert torch.equal(trace[name][6], theirs[name][6])
    torch.testing.assert_close(trace["logits"][:6], plain[0, :6], rtol=1e-5, atol=1e-5)
    assert (trace["logits"][6:] - plain[0, 6:]).abs().amax(-1).min() > 1e-3
    with model.patched({name: at(slice(2, 4), zero)}):
        found = inspect(model, x[0])[name]
    assert found[2:4].abs().max() == 0
    assert torch.equal(found[4:], inspect(model, x[0])[name][4:])


@torch.no_grad()
def test_mean_ablation_and_steering_are_the_arithmetic_they_name(make_gpt: Any, ids: Any) -> None:
    model, x = make_gpt(), ids(2, 10)
    direction, seen = torch.linspace(-1, 1, 16), list[Tensor]()

    def keep(value: Tensor) -> Tensor:
        seen.append(value)
        return value

    with model.patched({"blocks.0.mlp": keep}):
        model(x)
    with model.patched({"blocks.0.mlp": mean}), model.patched({"blocks.0.mlp": keep}):
        model(x)
    torch.testing.assert_close(seen[1], seen[0].mean((0, 1)).expand(2, 10, 16))
    with model.patched({"blocks.0.attn.z": mean}), model.patched({"blocks.0.attn.z": keep}):
        model(x)
    assert seen[2].shape == (2, 4, 10, 4)
    assert torch.equal(seen[2], seen[2][:1, :, :1].expand_as(seen[2]))
    with model.patched({"blocks.1.resid.post": lambda s: s + 2 * direction}):
        steered = model(x)[0]
    torch.testing.assert_close(steered, model.logits(model.norm(stream(model, x) + 2 * direction)))


def stream(model: GPT, x: Tensor) -> Tensor:
    """The residual stream after the last layer."""
    kept: list[Tensor] = []
    handle = model.blocks[-1].register_forward_hook(lambda module, args, out: kept.append(out))
    model(x)
    handle.remove()
    return kept[0]


@torch.no_grad()
def test_patched_scores_stay_causal_and_gradients_flow(make_gpt: Any, ids: Any) -> None:
    model, x = make_gpt(), ids(1, 8)
    with model.patched({"blocks.0.attn.scores": zero}):
        uniform = inspect(model, x[0])["blocks.0.attn.probabilities"]
    torch.testing.assert_close(uniform, (torch.ones(8, 8).tril() / torch.arange(1, 9)[:, None]).expand(4, 8, 8))
    direction = torch.zeros(16, requires_grad=True)
    with torch.enable_grad(), model.patched({"embed": lambda e: e + direction}):
        model(x)[0].sum().backward()
    assert direction.grad is not None
    assert direction.grad.abs().min() > 0


@pytest.mark.parametrize("knobs", OPTIONS[:5:2])
def test_generation_is_patched_with_a_cache_and_without(make_gpt: Any, ids: Any, knobs: dict[str, Any]) -> None:
    model, other, x = make_gpt(**knobs), make_gpt(**knobs), ids(2, 3)
    with torch.no_grad():
        silence(other, "blocks.1.attn.head.2")
    plain, expected = (m.generate(x, 20, do_sample=False) for m in (model, other))
    with model.patched({"blocks.1.attn.head.2": zero}):
        for use_cache in (True, False):
            assert torch.equal(model.generate(x, 20, do_sample=False, use_cache=use_cache), expected)
    assert not torch.equal(plain, expected)
    assert torch.equal(model.generate(x, 20, do_sample=False), plain)


@pytest.mark.slow
@pytest.mark.skipif(not compiled.can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("compiles_first", [True, False])
def test_compiled_generation_is_patched_too_and_its_graph_is_unchanged(
    make_gpt: Any, ids: Any, compiles_first: bool
) -> None:
    from torch._dynamo.utils import counters

    torch.compiler.reset()
    counters.clear()
    model, x = make_gpt(), ids(1, 3)

    def text() -> Tensor:
        found: Tensor = model.generate(x, 20, do_sample=False, compile=True)
        return found

    plain = model.generate(x, 20, do_sample=False)
    if compiles_first:
        assert torch.equal(text(), plain)
    with model.patched({"blocks.1.attn.head.2": zero, "blocks.0.mlp": zero}):
        expected = model.generate(x, 20, do_sample=False)
        assert torch.equal(text(), expected)
        assert counters["stats"]["unique_graphs"] == compiles_first
    assert not torch.equal(expected, plain)
    assert torch.equal(text(), plain)
    assert counters["stats"]["unique_graphs"] == 1
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.skipif(not compiled.can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_training_is_not_compiled_anew_and_keeps_its_bits(make_gpt: Any) -> None:
    from torch._dynamo.utils import counters

    def trained(looks: bool) -> list[Tensor]:
        torch.compiler.reset()
        counters.clear()
        model = make_gpt(pos="t5")
        loss, generator = torch.compile(lambda x: model.loss(x, x)), torch.Generator().manual_seed(0)
        for _ in range(4):
            model.zero_grad()
            loss(torch.randint(11, (4, 12), generator=generator)).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.01 * p.grad
            if looks:
                induction_score(model)
                with model.patched({"blocks.0.mlp": zero}):
                    inspect(model, [1, 2, 3])
        assert counters["stats"]["unique_graphs"] == 1
        return list(model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(trained(looks=False), trained(looks=True), strict=True))
    torch.compiler.reset()


def test_contexts_nest_in_the_order_of_opening(make_gpt: Any, ids: Any) -> None:
    model, x, name = make_gpt(), ids(1, 5), "blocks.0.attn.head.1"
    with model.patched({name: 1.0}):
        with model.patched({name: lambda v: v + 2, "blocks.1.attn.head.0": zero}):
            trace = inspect(model, x[0])
            assert torch.equal(trace[name], torch.full((5, 16), 3.0))
        assert torch.equal(inspect(model, x[0])[name], torch.ones(5, 16))
    attention = trace["blocks.0.attn.out"]
    others = sum(trace[f"blocks.0.attn.head.{h}"] for h in (0, 2, 3))
    torch.testing.assert_close(attention, others + 3.0, rtol=1e-4, atol=1e-4)


Case = tuple[dict[str, Any], str]
BAD: list[Case] = [
    ({"blocks.1.attn.hed.3": zero}, r"no activation 'blocks.1.attn.hed.3' in patched; did you mean 'blo"),
    ({"blocks.2.mlp": zero}, r"no layer 2: 'blocks.2.mlp' in patched; layers are 0 to 1"),
    ({"blocks.0.attn.head.4": zero}, r"no head '4': 'blocks.0.attn.head.4' in patched; heads are 0 to 3"),
    ({"blocks.0.attn.head": zero}, r"no activation .*; did you mean 'blocks.0.attn.head."),
    ({"wombat": zero}, r"no activation 'wombat' in patched; microgpt.inspect.names\(model\) lists them"),
    ({"blocks.0.mlp": torch.zeros(3)}, r"a patch of shape \(3,\) for an activation of shape \(1, 5, 16\) in patched"),
    ({"blocks.0.mlp": lambda x: None}, r"the patch returned a NoneType in patched, 'blocks.0.mlp'; return a tensor"),
    ({"blocks.0.mlp": "zero"}, r"a patch of type str in patched, 'blocks.0.mlp'; give zero, mean, a tensor"),
    ({"blocks.0.attn.scores": mean}, r"the mean over tokens of a matrix .*; patch attn.z with mean"),
    ({"pos.bias": zero}, r"the model ran without computing 'pos.bias' in patched; patch an activation that"),
    ({"blocks.0.mlp": at(7, zero)}, r"position 7 of 5 tokens in at; positions are -5 to 4"),
]  # fmt: skip


@pytest.mark.parametrize(("patches", "said"), BAD, ids=[said[:30] for _, said in BAD])
def test_a_wrong_patch_is_refused_in_one_line(make_gpt: Any, ids: Any, patches: dict[str, Any], said: str) -> None:
    model, x = make_gpt(), ids(1, 5)
    plain = model(x)[0]

    def patch_and_run() -> None:
        with model.patched(patches):
            model(x)

    with pytest.raises(UsageError, match=said) as caught:
        patch_and_run()
    assert "\n" not in str(caught.value)
    assert torch.equal(model(x)[0], plain)


def test_a_patch_that_nothing_ran_under_says_nothing(make_gpt: Any) -> None:
    model: GPT = make_gpt()
    with model.patched({"blocks.0.mlp": zero}):
        pass


def test_patches_are_functions_of_a_tensor() -> None:
    x: Tensor = torch.arange(6.0).view(1, 2, 3)
    patches: list[Callable[[Tensor], Tensor]] = [zero, mean, at(0, zero), at([1], 7.0)]
    found = [patch(x) for patch in patches]
    assert found[0].tolist() == [[[0, 0, 0], [0, 0, 0]]]
    assert found[1].tolist() == [[[1.5, 2.5, 3.5]] * 2]
    assert found[2].tolist() == [[[0, 0, 0], [3, 4, 5]]]
    assert found[3].tolist() == [[[0, 1, 2], [7, 7, 7]]]
    assert x.tolist() == [[[0, 1, 2], [3, 4, 5]]]
