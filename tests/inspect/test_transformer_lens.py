"""TransformerLens opens what a class of transformers expresses, with the same logits, and the rest is refused."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import TEXT, small_run

from microgpt.errors import MachineError, UsageError
from microgpt.inspect import to_transformer_lens

EXPRESSED: list[dict[str, Any]] = [
    {"pos": "learned", "norm": "layernorm", "bias": True, "tie_weights": True, "mlp": "gelu_tanh"},
    {"pos": "sinusoidal", "norm": "layernorm", "mlp": "relu"},
    {"pos": "none", "norm": "layernorm", "mlp": "gelu"},
    {"pos": "rope", "mlp": "swiglu"},
    {"pos": {"name": "rope", "fraction": 0.5}, "norm": "layernorm", "bias": True, "residual": "parallel"},
    {"pos": "rope", "mlp": "swiglu", "n_kv_head": 2, "tie_weights": True},
    {"pos": "rope", "mlp": "geglu", "n_kv_head": 1},
]


@pytest.fixture
def lens(transformers: Any) -> Any:
    """The package transformer_lens, of the extra `exchange`."""
    if importlib.util.find_spec("transformer_lens") is None:
        pytest.skip("the optional package transformer_lens is not installed: pip install 'microgpt[exchange]'")
    return importlib.import_module("transformer_lens")


@pytest.mark.slow
@pytest.mark.parametrize("knobs", EXPRESSED, ids=lambda k: "-".join(map(str, k.values())))
@pytest.mark.filterwarnings("ignore")
def test_logits_and_attention_are_those_of_transformer_lens(lens: Any, knobs: dict[str, Any]) -> None:
    run = small_run(**knobs)
    with torch.no_grad():
        for p in run.model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p), alpha=0.3)
    bridge, ids = to_transformer_lens(run), torch.tensor([run.tokenizer.encode(TEXT)])
    trace = run.inspect(TEXT)
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids)
    torch.testing.assert_close(logits[0], trace["logits"], rtol=1e-4, atol=1e-4)
    for layer in (0, 1):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"][0]
        torch.testing.assert_close(pattern, trace[f"blocks.{layer}.attn.probabilities"], rtol=1e-4, atol=1e-4)
        stream = cache[f"blocks.{layer}.hook_resid_post"][0]
        torch.testing.assert_close(stream, trace[f"blocks.{layer}.resid.post"], rtol=1e-4, atol=1e-4)
    assert bridge.to_tokens(TEXT, prepend_bos=False).tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("knobs", "named"),
    [({"pos": "alibi"}, "pos=alibi"), ({"norm_place": "sandwich"}, "norm_place=sandwich"),
     ({"residual": "parallel"}, "residual=parallel"), ({"pos": {"name": "rope", "fraction": 0.5}}, "pos.fraction=0.5"),
     ({"value_embed": True}, "value_embed=true"), ({"logit_softcap": 3.0}, "logit_softcap=3")],
)  # fmt: skip
def test_a_model_that_no_class_expresses_is_refused_by_the_parts_name(knobs: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        to_transformer_lens(small_run(**knobs))
    assert "in to_transformer_lens; train without these, or use microgpt.inspect" in str(caught.value)


def test_without_the_package_it_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    run = small_run(pos="learned", norm="layernorm")
    with pytest.raises(MachineError, match=r"needs the package transformer_lens in .*; pip install 'micro"):
        to_transformer_lens(run)
    assert run.path == Path("runs/small")
