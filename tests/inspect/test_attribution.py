"""Direct logit attribution: it adds up for every part, and says what the parts do."""

import itertools
from typing import Any

import pytest
import torch
from small_run import TEXT, small_run

from microgpt.inspect import inspect
from microgpt.model.norm import NormConfig

CASES: list[dict[str, Any]] = [
    *({"pos": name} for name in ("alibi", "learned", "none", "rope", "sinusoidal", "t5")),
    *(
        {"norm": norm, "norm_place": place, "bias": bias}
        for norm, place, bias in itertools.product(
            ("layernorm", "rmsnorm", "none"), ("pre", "post", "sandwich"), (False, True)
        )
    ),
    *({"mlp": name} for name in ("swiglu", "relu2")),
    {"norm_affine": False, "norm_place": "post"},
    {"n_kv_head": 2, "tie_weights": True},
    {"residual": "parallel", "norm": "layernorm", "bias": True},
    {"residual": "parallel", "norm_place": "sandwich", "resid_scale": True},
    {"logit_softcap": 3.0, "qk_norm": True},
    {"ngram_embed": 50, "prev_embed": 2, "pos": "learned"},
    {"value_embed": True, "resid_scale": True},
    {"value_embed": True, "resid_scale": True, "norm_place": "post", "norm": "layernorm", "bias": True},
    {"resid_scale": True, "norm_place": "sandwich", "ngram_embed": 50},
]


@pytest.mark.parametrize("knobs", CASES, ids=lambda k: "-".join(f"{a}={b}" for a, b in k.items()))
def test_the_parts_add_up_to_the_logit(knobs: dict[str, Any]) -> None:
    run = small_run(**knobs)
    with torch.no_grad():
        for p in run.model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p), alpha=0.3)
            if knobs.get("norm") == "none":
                p.mul_(0.3)
    trace = run.inspect(TEXT)
    model = run.model
    head = model.wte.weight if model.head is None else model.head.weight
    logits = trace["norm"] @ head.detach().T  # before a softcap
    for position, token in ((-1, None), (0, None), (5, 3), (2, "z")):
        found = trace.attribution(position, token)
        assert found.total == pytest.approx(float(logits[position, found.token]), rel=1e-5, abs=1e-5)
        assert found.total == pytest.approx(found.logit, rel=1e-6, abs=1e-5)
    names = [part.name for part in found.parts]
    assert len(set(names)) == len(names)
    assert {f"blocks.{i}.attn.head.{h}" for i in range(2) for h in range(4)} < set(names)
    assert ("blocks.1.attn.bias" in names) == bool(knobs.get("bias"))
    assert found.heads().shape == (2, 4)
    shares = sum(p.value for p in found.parts if p.layer is None)
    assert found.layers().sum() + shares == pytest.approx(found.total)


def test_without_a_final_norm_a_share_is_what_zeroing_the_part_takes_away() -> None:
    """Nothing comes after the last layer's MLP but the head: its share is its whole effect."""
    run = small_run(norm="none", pos="learned")
    trace = run.inspect(TEXT)
    found = trace.attribution()
    with run.model.patched({"blocks.1.mlp": 0.0}):
        without = float(run.inspect(TEXT)["logits"][-1, found.token])
    share = next(p.value for p in found.parts if p.name == "blocks.1.mlp")
    assert found.logit - without == pytest.approx(share, rel=1e-4)
    embedded = next(p.value for p in found.parts if p.name == "wte")
    expected = trace["wte"][-1] @ run.model.head.weight[found.token].detach()
    assert embedded == pytest.approx(float(expected), rel=1e-5)


def test_a_difference_of_two_logits_is_the_difference_of_their_attributions() -> None:
    trace = small_run(norm="layernorm", bias=True).inspect(TEXT)
    one, two, both = (trace.attribution(4, *tokens) for tokens in (("a",), ("b",), ("a", "b")))
    assert both.logit == pytest.approx(one.logit - two.logit)
    for a, b, difference in zip(one.parts, two.parts, both.parts, strict=True):
        assert difference.value == pytest.approx(a.value - b.value, abs=1e-9)


def test_the_default_is_the_texts_next_token_or_the_likeliest_at_the_end() -> None:
    run = small_run()
    trace = run.inspect(TEXT)
    assert trace.attribution(3).token == run.tokenizer.encode(TEXT)[4]
    assert trace.attribution().token == int(trace["logits"][-1].argmax())


def test_a_patched_trace_attributes_the_patched_logit() -> None:
    run = small_run(bias=True, norm="layernorm")
    with run.model.patched({"blocks.1.attn.head.2": 0.0, "blocks.0.mlp": lambda x: 2 * x}):
        found = run.inspect(TEXT).attribution()
    assert found.total == pytest.approx(found.logit, abs=1e-5)
    assert found.heads()[1, 2] == 0
    assert (found.heads() != 0).sum() == 7


def test_every_shipped_norm_is_attributed() -> None:
    shipped = {name for name, member in NormConfig.members.items() if member.__module__.startswith("microgpt.")}
    assert shipped == {case["norm"] for case in CASES if "norm" in case}
    assert inspect(small_run().model, [1]).attribution().position == 0
