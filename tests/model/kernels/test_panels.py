"""Weights in panels: the same products, of the weights as they are now, for no longer than the model lives."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from microgpt import GPT
from microgpt.model.generation import compiled
from microgpt.model.kernels import panels as module
from microgpt.model.kernels.linear import Linear
from microgpt.model.kernels.packed import pays
from microgpt.model.kernels.panels import Panels, in_panels

needs_onednn = pytest.mark.skipif(not pays([torch.zeros(1)]), reason="weights are in panels on x86")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 3), (8, 5), (65, 24), (48, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_the_layers(
    dtype: torch.dtype, outputs: int, inputs: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    layer, x = Linear(inputs, outputs, bias=bias).to(dtype), torch.randn(1, 1, inputs).to(dtype)
    made = Panels(layer.weight)
    made.fill(layer.weight)
    made.bias, made.plain = layer.bias, layer.forward
    expected = layer.double()(x.double()).to(dtype)
    layer.to(dtype)
    torch.testing.assert_close(made(x), layer(x), rtol=0, atol=0)  # as before, where nothing is compiled
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(made(x), expected)
    assert made(x).dtype is dtype
    rows = x.expand(2, 1, -1)
    torch.testing.assert_close(made(rows), layer(rows), rtol=0, atol=0)


@needs_onednn
@pytest.mark.slow
@pytest.mark.skipif(not compiled.can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("tie_weights", [True, False])
def test_a_later_text_has_the_weights_of_then_and_compiles_nothing(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], tie_weights: bool
) -> None:
    model, x = make_gpt(tie_weights=tie_weights), ids(1, 4)
    torch.compiler.reset()
    counters.clear()
    texts = []
    for _ in range(3):
        plain = model.generate(x, 20, do_sample=False)
        assert torch.equal(model.generate(x, 20, do_sample=False, compile=True), plain)
        texts.append(plain)
        with torch.no_grad():
            for p in model.parameters():
                p.data = p.data.roll(1, 0) * 1.5  # which leaves the parameter's version as it was
    assert not torch.equal(texts[0], texts[1])
    assert counters["stats"]["unique_graphs"] == 1
    torch.compiler.reset()


@needs_onednn
def test_they_go_with_the_model(make_gpt: Callable[..., GPT]) -> None:
    model = make_gpt()
    with in_panels(model):
        assert all(isinstance(vars(m)["forward"], Panels) for m in model.modules() if isinstance(m, Linear))
        with in_panels(model):  # another text of the same model
            pass
    assert not any("forward" in vars(m) for m in model.modules())
    before, kept = len(module._MADE), weakref.ref(model)
    layers = sum(isinstance(m, Linear) for m in model.modules())
    del model
    gc.collect()
    assert kept() is None
    assert before - len(module._MADE) == layers


@needs_onednn
def test_a_model_of_another_format_has_none(make_gpt: Callable[..., GPT]) -> None:
    model: Any = make_gpt().double()
    with in_panels(model):
        assert not any("forward" in vars(m) for m in model.modules())
