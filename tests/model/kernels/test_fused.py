"""Operations with a gradient of our own: values and gradients are those that autograd finds for the plain formula."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from microgpt.model import GPT, GPTConfig
from microgpt.model.kernels import linear
from microgpt.model.kernels.rms_norm import rms_norm
from microgpt.model.kernels.squared_relu import squared_relu


def squared(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x) * F.relu(x)


def normalised(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt()


PAIRS = [(squared_relu, squared), (lambda x: rms_norm(x, None, 0.1), normalised)]


@pytest.mark.parametrize(("ours", "plain"), PAIRS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 2e-6), (torch.bfloat16, 0.05)]
)
def test_value_and_gradient_are_those_of_the_plain_formula(
    ours: Any, plain: Any, dtype: torch.dtype, tolerance: float
) -> None:
    """For a view, too, as queries and keys are."""
    torch.manual_seed(0)
    whole, grad = torch.randn(3, 5, 24).to(dtype), torch.randn(5, 3, 8).to(dtype)
    found = []
    for function, wide in ((ours, dtype), (plain, torch.float64)):
        leaf = whole.to(wide, copy=True).requires_grad_()
        y = function(leaf.transpose(0, 1)[..., 8:16])
        y.backward(grad.to(wide))
        assert y.dtype is wide
        assert leaf.grad is not None
        found.append((y, leaf.grad))
    for mine, exact in zip(*found, strict=True):
        torch.testing.assert_close(mine.double(), exact.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("ours", "plain"), PAIRS)
def test_without_a_gradient_the_value_is_that_of_the_plain_formula(ours: Any, plain: Any) -> None:
    x = torch.randn(4, 7)
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rms_norm_is_torchs_own_to_the_bit(gain: float, dtype: torch.dtype) -> None:
    """So that logits do not depend on what is trained."""
    x, weight = torch.randn(40, 96).to(dtype), torch.randn(96).to(dtype) if gain else None
    expected = F.rms_norm(x, (96,), weight, 1e-5)
    assert torch.equal(rms_norm(x.requires_grad_(), weight, 1e-5), expected)
    assert torch.equal(rms_norm(x.detach(), weight, 1e-5), expected)


@pytest.mark.skipif(not linear.onednn_is_fast(), reason="oneDNN's products are the fast ones on x86")
@pytest.mark.parametrize("bias", [False, True])
def test_onednn_gives_value_and_gradients_of_a_linear_layer(monkeypatch: pytest.MonkeyPatch, bias: bool) -> None:
    """Also for weights that are frozen, and for an input that needs no gradient."""
    calls, large = [], 3 * 5 * 24 * 40
    monkeypatch.setattr(linear, "_onednn", lambda *args, of=linear._onednn: calls.append(1) or of(*args))
    x, layer, grad = torch.randn(3, 5, 24), linear.Linear(24, 40, bias=bias), torch.randn(3, 5, 40)
    for x_needs, weight_needs in ((True, True), (True, False), (False, True)):
        found = []
        for least in (large, large + 1):
            monkeypatch.setattr(linear, "_LARGE", least)
            layer.zero_grad()
            layer.requires_grad_(weight_needs)
            leaf = x.clone().requires_grad_(x_needs)
            y = layer(leaf)
            y.backward(grad)
            gradients = [p.grad for p in (leaf, *layer.parameters()) if p.requires_grad]
            found.append([y, *gradients])
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    assert len(calls) == 5  # forward thrice, the input's gradient twice


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # SDPA has no rule for vmap
def test_gradients_of_each_sequence_by_torch_func() -> None:
    config = GPTConfig.from_dict({"n_layer": 1, "n_embd": 16, "n_head": 2, "block_size": 8, "mlp": "relu2"})
    model, ids = GPT(config, 11), torch.randint(11, (3, 9))
    weights = dict(model.named_parameters())

    def loss(weights: dict[str, Tensor], row: Tensor) -> Tensor:
        return functional_call(model, weights, (row[None, :-1], row[None, 1:]))[1]

    each = vmap(grad(loss), (None, 0))(weights, ids)  # type: ignore[arg-type]
    model(ids[:, :-1], targets=ids[:, 1:])[1].backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        torch.testing.assert_close(each[name].mean(0), weight.grad, rtol=1e-4, atol=1e-6)
