"""Faster implementations of `attention.reference`, and the choice of the fastest on this machine.

B batch, T tokens, H heads, D = width of a head; Tq queries meet Tk keys. A `mask` is (H or 1, Tq, Tk) and is added to
the scores; None means the plain causal mask.

Forward and backward in ms on one core with AVX512-bf16, `sdpa` and `batched`, for queries of shape (B, H, T, D):

                          float32     with a bias  with dropout     bfloat16
    (8, 1, 32, 32)      0.21   0.26    0.36   0.24    0.44   0.37    0.83   0.49
    (12, 4, 64, 32)      1.8    1.8     2.6    1.7     4.6    3.5     7.1    1.2
    (32, 6, 128, 64)    45.3   48.8    62.3   51.6    79.6   71.9    82.1   23.0
    (12, 3, 256, 64)    29.4   27.1    38.5   33.3    52.3   39.6    41.0   15.6
    (8, 4, 512, 64)      102     87     163    135     208    128     110   44.5
    (4, 4, 1024, 64)     147    156     350    323     482    215     125   84.0
    (2, 4, 2048, 64)     254    297     717    915    1077    385     222    168

With only AVX2, which emulates bfloat16, `sdpa` is 2 to 5 times as fast as `batched` in bfloat16.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from microgpt.model.attention import Attend, causal_mask, reference_output, repeat_heads
from microgpt.model.kernels import hardware


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """torch's fused attention: flash kernels on GPUs, and the fastest forward pass everywhere."""
    is_causal = mask is None and q.shape[2] > 1
    gqa = q.shape[1] != k.shape[1]
    mask = None if mask is None else mask.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal, enable_gqa=gqa)


@contextlib.contextmanager
def any_length(device: torch.device) -> Iterator[None]:
    """Within the context, SDPA is fast for texts of lengths that it has not seen: cuDNN prepares its kernels for each
    length anew, 40 ms on an H200."""
    backends = torch.backends.cuda
    if device.type != "cuda" or not backends.cudnn_sdp_enabled():  # type: ignore[no-untyped-call]
        yield
        return
    backends.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        backends.enable_cudnn_sdp(True)


def batched(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention as batched matrix products, for training on CPUs, where SDPA's backward pass is slow in bfloat16 and
    with a bias or dropout.

    Long texts are split into pieces of 128 queries or more, each with the keys up to its last query, so that few scores
    are computed in vain.
    """
    B, H, T, D = q.shape
    k, v = repeat_heads(k, H), repeat_heads(v, H)
    q, k, v = (x.reshape(B * H, T, D) for x in (q, k, v))
    if mask is None:
        mask = causal_mask(T, T, q.device)
    elif mask.shape[0] > 1:
        mask = mask.expand(B, H, T, T).reshape(B * H, T, T)
    mask = mask.to(q.dtype)
    pieces, end = [], 0
    for queries in torch.split(q, math.ceil(T / piece_count(T)), dim=1):
        start, end = end, end + queries.shape[1]
        scores = torch.baddbmm(mask[:, start:end, :end], queries, k[:, :end].mT, alpha=1 / math.sqrt(D))
        probabilities = scores.softmax(dim=-1)  # (B H, end - start, end)
        if dropout:
            probabilities = F.dropout(probabilities, dropout)
        pieces.append(torch.bmm(probabilities.to(v.dtype), v[:, :end]))
    y = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)  # a single piece needs no copy
    return y.view(B, H, T, D)


def one_query(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:  # noqa: ARG001
    """Attention of one query per text, Tq = 1, without dropout, as sums that the compiler turns into loops.

    They read each key and value once. SDPA's kernels are made for many queries: on an H200, with 6 heads of 64 and 257
    keys in bfloat16, they take 17 us for one text, where these take 6.
    """
    B, H, _, D = q.shape
    H_kv = k.shape[1]
    wide = torch.promote_types(q.dtype, torch.float32)
    q = q.view(B, H_kv, H // H_kv, 1, D).to(wide)
    scores = (q * k.unsqueeze(2).to(wide)).sum(-1) / math.sqrt(D)  # (B, H_kv, H / H_kv, Tk)
    if mask is not None:
        scores = scores + (mask.view(H_kv, -1, k.shape[2]) if mask.shape[0] > 1 else mask)
    probabilities = scores.softmax(dim=-1).unsqueeze(-1)
    return (probabilities * v.unsqueeze(2).to(wide)).sum(-2).view(B, H, 1, D).to(v.dtype)


def piece_count(T: int) -> int:
    """The number of pieces into which `batched` splits T queries: 128 or more each from T = 256, 256 from 512."""
    return max(1, min(T // 128, 2), T // 256)


def fastest(T: int, device: torch.device, dtype: torch.dtype, is_training: bool, is_plain: bool = True) -> Attend:
    """The fastest implementation of attention over T tokens, by the table above.

    Args:
        is_plain: whether there is neither a bias nor dropout.
    """
    if device.type == "cuda" and T == 1 and not is_training and torch.compiler.is_compiling():
        return one_query
    if not is_training or device.type != "cpu" or hardware.of("cpu").emulates(dtype):
        return sdpa
    longest = 2048 if dtype is torch.bfloat16 else 0 if is_plain else 1024
    return batched if longest >= T else sdpa


def chosen(name: str, T: int, x: Tensor, is_plain: bool) -> Attend:
    """The implementation that `model.attention` names; `auto` is the fastest for T tokens of x (..., C)."""
    if name != "auto":
        return {"sdpa": sdpa, "reference": reference_output}[name]
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype  # elsewhere no matter
    return fastest(T, x.device, dtype, torch.is_grad_enabled(), is_plain)


def added_mask(q_len: int, k_len: int, attend: Attend, bias: Tensor | None, device: torch.device) -> Tensor | None:
    """The mask (H or 1, Tq, Tk) to add to the scores; None if no mask tensor is needed."""
    if q_len == 1:
        return bias  # the newest token attends to every key
    if bias is None and attend is sdpa and q_len == k_len:
        return None
    mask = causal_mask(q_len, k_len, device)
    return mask if bias is None else bias + mask
