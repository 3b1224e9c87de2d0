"""Every way to compute attention gives the same output and the same gradients, and none looks ahead."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from microgpt.model.attention import causal_mask, reference, reference_output
from microgpt.model.kernels import hardware
from microgpt.model.kernels.attention import any_length, batched, fastest, one_query, piece_count, sdpa

B, H, T, D = 2, 4, 7, 8


def inputs(n_kv_head: int, dtype: torch.dtype = torch.float64, length: int = T) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    sizes = (H, n_kv_head, n_kv_head)
    return [torch.randn(B, n, length, D, dtype=dtype, generator=draw).requires_grad_() for n in sizes]


def results(attend: Callable[..., Tensor], n_kv_head: int, mask: Tensor | None, length: int) -> list[Any]:
    """The output, and the gradients of q, k, v and the mask."""
    tensors = inputs(n_kv_head, length=length)
    if mask is not None:
        mask = mask.clone().requires_grad_()
        tensors.append(mask)
    y = attend(*tensors[:3], mask, 0.0)
    y.square().sum().backward()
    return [y.detach(), *(t.grad for t in tensors)]


@pytest.mark.parametrize(("attend", "length"), [(sdpa, T), (batched, T), (batched, 300), (batched, 775)])
@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_output_and_gradients_are_those_of_the_reference(
    attend: Callable[..., Tensor], length: int, n_kv_head: int, biased: bool
) -> None:
    mask = None
    if biased:
        draw = torch.Generator().manual_seed(1)
        bias = torch.randn(H, length, length, dtype=torch.float64, generator=draw)
        mask = bias.masked_fill(causal_mask(length, length, bias.device).isinf(), -math.inf)
    expected = results(reference_output, n_kv_head, mask, length)
    got = results(attend, n_kv_head, mask, length)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b, a.to(b.dtype), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attend", [sdpa, batched, reference_output])
def test_bfloat16_is_near_float32(attend: Callable[..., Tensor]) -> None:
    exact = reference_output(*inputs(H, torch.float32), None, 0.0)  # type: ignore[arg-type, call-arg]
    rough = attend(*(x.bfloat16() for x in inputs(H, torch.float32)), None, 0.0)
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.03


def test_reference_probabilities_are_causal_and_sum_to_one() -> None:
    q, k, v = inputs(2)
    y, p = reference(q, k, v, None, 0.0)
    assert p.shape == (B, H, T, T)
    torch.testing.assert_close(p.sum(-1), torch.ones(B, H, T, dtype=p.dtype), rtol=0, atol=1e-6)
    assert p.triu(1).abs().max() == 0
    torch.testing.assert_close(p @ v.repeat_interleave(2, 1), y)


def test_first_token_attends_to_itself_alone() -> None:
    q, k, v = inputs(H)
    for attend in (sdpa, batched, reference_output):
        torch.testing.assert_close(attend(q, k, v, None, 0.0)[:, :, 0], v[:, :, 0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("attend", [sdpa, batched, reference_output])
def test_dropout_keeps_the_mean(attend: Callable[..., Tensor]) -> None:
    q, k, v = (x.detach().float() for x in inputs(H))
    torch.manual_seed(0)
    mean = torch.stack([attend(q, k, v, None, 0.5) for _ in range(2000)]).mean(0)
    assert not torch.equal(attend(q, k, v, None, 0.5), attend(q, k, v, None, 0.5))
    assert (mean - attend(q, k, v, None, 0.0)).abs().max() < 0.25


def test_mask_lets_the_last_queries_see_all_keys_before_them() -> None:
    mask = causal_mask(2, 5, torch.device("cpu"))
    assert mask.isinf().tolist() == [[[False] * 4 + [True], [False] * 5]]


def test_pieces_hold_128_queries_or_more() -> None:
    counts = {T: piece_count(T) for T in (1, 64, 255, 256, 511, 512, 767, 768, 1024, 2048)}
    assert counts == {1: 1, 64: 1, 255: 1, 256: 2, 511: 2, 512: 2, 767: 2, 768: 3, 1024: 4, 2048: 8}


def test_training_on_a_cpu_uses_the_batched_product_where_it_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    with_units = hardware.Hardware("cpu", has_bf16=True, kind="avx512_bf16")
    monkeypatch.setattr(hardware, "of", lambda device: with_units)
    cpu, cuda, f32, bf16 = torch.device("cpu"), torch.device("cuda"), torch.float32, torch.bfloat16
    assert fastest(128, cpu, f32, True) is sdpa
    assert fastest(1024, cpu, f32, True, is_plain=False) is batched
    assert fastest(1025, cpu, f32, True, is_plain=False) is sdpa
    assert fastest(2048, cpu, bf16, True) is batched
    assert fastest(2049, cpu, bf16, True) is sdpa
    assert fastest(128, cpu, bf16, False) is sdpa
    assert fastest(128, cuda, bf16, True) is sdpa


@pytest.mark.parametrize("heads_of_mask", [None, 1, H])
@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
def test_one_query_attends_as_the_reference(n_kv_head: int, heads_of_mask: int | None) -> None:
    q, k, v = (x.detach() for x in inputs(n_kv_head))
    mask = None
    if heads_of_mask:
        mask = torch.randn(heads_of_mask, 1, T, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        mask[..., -2:] = -math.inf
    found = one_query(q[:, :, -1:], k, v, mask, 0.0)
    torch.testing.assert_close(found, reference_output(q[:, :, -1:], k, v, mask, 0.0), rtol=1e-12, atol=1e-12)
    rough = one_query(q[:, :, -1:].bfloat16(), k.bfloat16(), v.bfloat16(), mask, 0.0)
    assert rough.dtype is torch.bfloat16
    torch.testing.assert_close(rough.double(), found, rtol=0.02, atol=0.02)


def test_one_query_is_for_compiled_generation_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert fastest(1, gpu, torch.bfloat16, is_training=False) is sdpa
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    found = [fastest(T, at, torch.bfloat16, trains) for T, at, trains in
             ((1, gpu, False), (2, gpu, False), (1, gpu, True), (1, cpu, False))]  # fmt: skip
    assert [attend is one_query for attend in found] == [True, False, False, False]


def test_texts_of_any_length_are_attended_to_without_cudnn_and_then_it_is_as_it_was() -> None:
    enabled = torch.backends.cuda.cudnn_sdp_enabled
    with any_length(torch.device("cpu")):
        assert enabled()
    with contextlib.suppress(KeyError), any_length(torch.device("cuda")):
        assert not enabled()
        raise KeyError
    assert enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with any_length(torch.device("cuda")):
            pass
        assert not enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
