"""`check_attention` passes what is right and names what is wrong."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from microgpt import GPT, GPTConfig
from microgpt.model.attention import Context, reference_output
from microgpt.testing import AttentionError, check_attention

H, C, T = 4, 32, 16


def rotated(x: Tensor) -> Tensor:
    """Rotary positions as the paper writes them: neighbours are pairs."""
    angle = torch.outer(torch.arange(x.shape[2]), 10_000 ** (-torch.arange(0, x.shape[3], 2) / x.shape[3]))
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


class Plain(nn.Module):
    """A student's attention, right unless it is told to be wrong."""

    def __init__(self, fault: str = "", rope: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.out = (nn.Linear(C, C) for _ in range(4))
        self.fault, self.rope = fault, rope

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.q(x), self.k(x), self.v(x)

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape
        wrong = self.fault
        split = (lambda t: t.view(B, H, T, C // H)) if wrong == "heads mixed" else (
            lambda t: t.view(B, T, H, C // H).transpose(1, 2)
        )  # fmt: skip
        q, k, v = (split(t) for t in self.project(x))
        if self.rope:
            q, k = rotated(q), k if wrong == "keys unrotated" else rotated(k)
        scores = q @ k.mT
        if wrong != "no scale":
            scores = scores / math.sqrt(C if wrong == "wrong scale" else C // H)
        if wrong != "future visible":
            hidden = torch.ones(T, T).triu(0 if wrong in ("own token hidden", "nan") else 1).bool()
            scores = scores.masked_fill(hidden, -1e9 if wrong == "own token hidden" else -math.inf)
        p = scores.softmax(-2 if wrong == "wrong softmax axis" else -1)
        p = p if wrong == "nan" else p.nan_to_num()
        if wrong == "gradient":
            p = p.detach()
        if wrong == "output":
            p = p.square()
        y = (p @ v if wrong == "heads not joined" else (p @ v).transpose(1, 2)).reshape(B, T, C)
        y = y if wrong == "no output projection" else self.out(y)
        return y[:, 1:] if wrong == "shape" else y


def check(attention: Plain, rotate: Callable[[Tensor], Tensor] | None = rotated) -> None:
    check_attention(attention, project=attention.project, output=attention.out, rotate=rotate, n_head=H, n_embd=C)


def test_a_plain_implementation_passes() -> None:
    check(Plain())
    check(Plain(rope=False), None)


@pytest.mark.parametrize(
    "fault",
    [
        "future visible",
        "own token hidden",
        "nan",
        "no scale",
        "wrong scale",
        "keys unrotated",
        "wrong softmax axis",
        "heads mixed",
        "heads not joined",
        "no output projection",
        "gradient",
        "output",
        "shape",
    ],
)
def test_a_fault_is_named(fault: str) -> None:
    with pytest.raises(AttentionError, match=f"^{fault}: ") as error:
        check(Plain(fault))
    assert error.value.fault == fault


@pytest.mark.parametrize(
    ("rotate", "message"),
    [
        (lambda x: x, "turns nothing"),
        (lambda x: x * 2, "length of vectors"),
        (lambda x: rotated(x)[:, :, :1], r"\(1, 4, 1, 8\) for an input of"),
        (lambda x: x.roll(1, 3) * torch.arange(x.shape[2])[:, None].cos().sign(), "depend on the position"),
    ],
)
def test_a_wrong_rotation_is_named(rotate: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(AttentionError, match=message):
        check(Plain(), rotate)


@pytest.mark.parametrize("options", [{"pos": "rope"}, {"pos": "learned"}, {"bias": True}])
def test_ours_passes(options: dict[str, Any]) -> None:
    model = GPT(
        GPTConfig.from_dict({"n_layer": 1, "n_head": H, "n_embd": C, "block_size": T, "qk_norm": False, **options}), 7
    )
    attention: Any = model.blocks[0].attn
    for p in attention.parameters():
        nn.init.normal_(p, std=0.2)
    pos: Any = model.pos

    def attend(x: Tensor) -> Tensor:
        context = Context(torch.zeros(x.shape[:2], dtype=torch.int64), pos, 0, None, reference_output)
        return attention(x, context)

    def rotate(x: Tensor) -> Tensor:
        return pos.rotate(x, x, 0)[0]

    check_attention(
        attend, project=lambda x: attention.qkv(x).chunk(3, dim=-1), output=attention.out,
        rotate=None if options.get("pos") == "learned" else rotate, n_head=H, n_embd=C,
    )  # fmt: skip
