"""Generation with packed weights: equal to the plain products but for rounding, and gone when it ends."""

from typing import Any

import pytest
import torch
from torch import nn

from microgpt.model import GPT, GPTConfig
from microgpt.model.generation.sampling import SamplingParams
from microgpt.model.generation.stream import stream
from microgpt.model.kernels import hardware
from microgpt.model.kernels import packed as module
from microgpt.model.kernels.packed import packed


def model(**knobs: Any) -> GPT:
    torch.manual_seed(0)
    knobs = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16, "bias": True, **knobs}
    return GPT(GPTConfig.from_dict(knobs), 50).eval()


def is_packed(gpt: GPT) -> bool:
    return any({"forward", "project"} & set(vars(part)) for part in gpt.modules())


needs_onednn = pytest.mark.skipif(
    not module.pays([torch.zeros(1)]), reason="the weights are packed where oneDNN multiplies them, on x86"
)


needs_bf16 = pytest.mark.skipif(
    not hardware.of("cpu").packs(torch.bfloat16), reason="the CPU has no bfloat16 units (avx512_bf16 or amx_bf16)"
)


@needs_onednn
@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), pytest.param(torch.bfloat16, 0.05, marks=needs_bf16)]
)
@torch.no_grad()
def test_packed_weights_give_the_same_logits(tie_weights: bool, dtype: torch.dtype, tolerance: float) -> None:
    gpt = model(tie_weights=tie_weights, init="gpt2").to(dtype)
    for rows in (1, 3, 40):
        ids = torch.randint(50, (rows, 5))
        plain = gpt(ids)[0]
        with packed(gpt, rows):
            assert is_packed(gpt)
            found = gpt(ids)[0]
        assert not is_packed(gpt)
        assert found.dtype == plain.dtype
        assert torch.allclose(found.float(), plain.float(), atol=tolerance)


@needs_onednn
@torch.no_grad()
def test_the_products_are_those_of_the_copies() -> None:
    """Were the plain products still computed, a change of the weights would show at once."""
    gpt = model()
    ids = torch.randint(50, (2, 5))
    before = gpt(ids)[0]
    with packed(gpt, 2):
        for layer in gpt.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3.0)
        assert torch.allclose(gpt(ids)[0], before, atol=1e-5)
    assert not torch.allclose(gpt(ids)[0], before, atol=1e-2)


@needs_onednn
@pytest.mark.parametrize("tie_weights", [True, False])
def test_two_streams_of_one_model_end_in_any_order(monkeypatch: pytest.MonkeyPatch, tie_weights: bool) -> None:
    monkeypatch.setattr("microgpt.model.generation.stream.PACKING_PAYS", 1)
    gpt, ids = model(tie_weights=tie_weights), torch.zeros(1, 1, dtype=torch.int64)
    whole = gpt.generate(ids, 10, do_sample=False)[0, 1:].tolist()
    first, second = (stream(gpt, ids, 10, SamplingParams(do_sample=False)) for _ in range(2))
    made = [[int(next(first)), int(next(second))] for _ in range(5)]
    first.close()  # type: ignore[attr-defined]
    assert not is_packed(gpt)
    rest = [int(token) for token in second]
    assert [pair[1] for pair in made] + rest == whole
    assert not is_packed(gpt)


def test_weights_are_left_alone_where_it_does_not_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    gpt = model()
    with torch.autocast("cpu", torch.bfloat16), packed(gpt, 1):
        assert not is_packed(gpt)
    monkeypatch.setattr(module, "_MOST", 10)
    with packed(gpt, 1):
        assert not is_packed(gpt)
    monkeypatch.undo()
    with packed(gpt.double(), 1):
        assert not is_packed(gpt)
    monkeypatch.setattr(module, "onednn_is_fast", lambda: False)
    with packed(gpt.float(), 1):
        assert not is_packed(gpt)
