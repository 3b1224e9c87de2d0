"""The weight average follows the weights in any precision, and resumes from what earlier versions saved."""

import pytest
import torch

from microgpt.engine.fit.weight_average import WeightAverage
from microgpt.model import GPT, GPTConfig

CPU = torch.device("cpu")
DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


def model_of(dtype: torch.dtype) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8), 11).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_average_is_the_recurrence_computed_in_float64(dtype: torch.dtype) -> None:
    model, decay = model_of(dtype), 0.999
    average = WeightAverage(model, decay)
    average.start(CPU)
    weight = model.wte.weight
    first = weight.detach().double().clone()
    wanted = first.clone()
    for step in range(400):
        with torch.no_grad():
            weight.add_(0.01 * (step % 3 == 0))  # moves slowly, as at a small learning rate
        average.update(step)
        factor = min(decay, (1 + step) / (10 + step))
        wanted = factor * wanted + (1 - factor) * weight.detach().double()
    assert (wanted - first).abs().max() > 0.1
    torch.testing.assert_close(average.tensors[0].double(), wanted, rtol=0, atol=2e-6)
    assert {tensor.dtype for tensor in average.tensors} == {torch.promote_types(dtype, torch.float32)}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_model_holds_the_rounded_average_for_the_block_alone(dtype: torch.dtype) -> None:
    model = model_of(dtype)
    average = WeightAverage(model, 0.5)
    average.start(CPU)
    before = model.wte.weight.detach().clone()
    average.tensors[0].add_(0.25)
    with average.applied() as applied:
        assert torch.equal(applied.wte.weight, average.tensors[0].to(dtype))
    assert torch.equal(model.wte.weight, before)


def test_an_average_saved_in_bfloat16_goes_on_in_float32() -> None:
    model = model_of(torch.bfloat16)
    saved = [p.detach().clone() for p in model.parameters()]
    average = WeightAverage(model, 0.999)
    assert average.fault(saved) == ""
    average.load(saved)
    average.start(CPU)
    assert {tensor.dtype for tensor in average.tensors} == {torch.float32}
    assert torch.equal(average.tensors[0], saved[0].float())
