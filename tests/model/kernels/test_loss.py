"""The loss of a large vocabulary equals that of all logits at once, and so do its gradients."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from microgpt import GPT, GPTConfig, train
from microgpt.model.kernels import cross_entropy

V, T = 50, 8
PIECES = {"one": V, "some": 3 * V, "all": 1000 * V}


def both_ways(piece: int, dtype: torch.dtype, **parts: object) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """The loss and its gradients, by `loss` in pieces of so many logits and by `forward`."""
    torch.manual_seed(0)
    config = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=T, init="gpt2", **parts)  # type: ignore[arg-type]
    model = GPT(config, V).to(dtype)
    with torch.no_grad():
        model.wte.weight.mul_(20)
    x, y = torch.randint(V, (3, T)), torch.randint(V, (3, T))
    y[1, 2:] = -100
    found = []
    for loss in (model.loss(x, y, cross_entropy.PIECES * piece), model(x, targets=y)[1]):
        assert loss is not None
        (3 * loss).backward()
        found.append((loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
        model.zero_grad()
    return found


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES)
@pytest.mark.parametrize("parts", [{}, {"tie_weights": True}, {"logit_softcap": 2.0}])
def test_the_loss_in_pieces_is_the_loss(parts: dict[str, object], piece: int) -> None:
    (loss, gradients), (expected, expected_gradients) = both_ways(piece, torch.float64, **parts)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_bfloat16_weights_it_is_as_exact_as_all_at_once(dtype: torch.dtype) -> None:
    context = torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.float32)  # as mixed precision, or as weights
    (exact, exact_gradients), _ = both_ways(1000 * V, torch.float32)
    with context:
        pieces, whole = both_ways(3 * V, dtype)
    assert pieces[0].dtype is torch.float32
    errors = [
        sum(float((g[n].float() - exact_gradients[n]).norm()) for n in exact_gradients) + abs(float(loss - exact))
        for loss, g in (pieces, whole)
    ]
    assert errors[0] < 1.5 * errors[1]


def test_logits_of_a_large_vocabulary_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn import functional as F

    shapes = []
    log_softmax = F.log_softmax

    def watched(logits: Tensor, **options: object) -> Tensor:
        shapes.append(logits.shape[0])
        return log_softmax(logits, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(F, "log_softmax", watched)
    both_ways(5 * V, torch.float32)
    assert shapes == [5, 5, 5, 5, 4, 3]  # 24 tokens, 5 at a time; then `forward`, with all of 3 rows


def test_a_frozen_head_has_no_gradient_and_the_trunk_has() -> None:
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=T, tie_weights=False, init="gpt2"), V)
    assert model.head is not None
    model.head.weight.requires_grad_(False)
    x = torch.randint(V, (2, T))
    model.loss(x, x, cross_entropy.PIECES * V).backward()
    assert model.head.weight.grad is None
    assert model.wte.weight.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(model.loss(x, x, cross_entropy.PIECES * V), model(x, targets=x)[1])


@pytest.mark.parametrize(("gigabytes", "most"), [(4, 2**27), (8, 2**27), (80, 5 * 2**28), (144, 9 * 2**28)])
def test_a_gpu_computes_as_many_logits_at_once_as_fit_well(
    gigabytes: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimpleNamespace(total_memory=gigabytes * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    assert cross_entropy.most_logits(torch.device("cuda")) == most
    assert cross_entropy.most_logits(torch.device("cpu")) == 2**27


def test_training_computes_at_once_what_its_device_allows(
    tiny: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("microgpt.engine.fit.module.most_logits", lambda device: 1000 + len(device.type))
    monkeypatch.setattr(GPT, "loss", lambda self, x, y, most, run: asked.append(most) or self(x, y)[1])
    train(tiny("trainer.max_steps=2", "eval.every_n_steps=0"))
    assert asked == [1003, 1003]
