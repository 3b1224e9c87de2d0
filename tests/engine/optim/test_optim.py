"""Optimizers and schedules: golden values, parity with torch, who gets weight decay."""

import math

import pytest
import torch
from torch import nn

from microgpt.engine.optim import OptimConfig
from microgpt.engine.optim.lion import Lion
from microgpt.engine.optim.muon import BatchedMuon, is_hidden_matrix
from microgpt.engine.schedule import ScheduleConfig
from microgpt.model import GPT, GPTConfig


def build(name: str, **knobs: object) -> OptimConfig:
    return OptimConfig.choose({"name": name, **knobs})


def small() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, norm="layernorm", bias=True), 11)  # type: ignore[arg-type]


def train(model: GPT, optimizer: torch.optim.Optimizer, steps: int = 3) -> list[torch.Tensor]:
    x = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        model(x, targets=x)[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", sorted(OptimConfig.members))
def test_every_weight_is_in_one_group_and_only_matrices_decay(name: str) -> None:
    model = small()
    optimizer = build(name, weight_decay=0.3).build(model.named_parameters())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == sum(len(group["params"]) for group in optimizer.param_groups)
    for parameter in model.parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim >= 2 else 0.0)


@pytest.mark.parametrize("name", sorted(OptimConfig.members))
def test_state_goes_through_its_dict_bit_for_bit(name: str) -> None:
    straight = train(model := small(), build(name).build(model.named_parameters()), steps=6)
    model = small()
    first = build(name).build(model.named_parameters())
    train(model, first, steps=3)
    second = build(name).build(model.named_parameters())
    second.load_state_dict(first.state_dict())
    for a, b in zip(train(model, second, steps=3), straight, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("made", [Lion, BatchedMuon])
def test_updates_are_made_on_the_device_of_the_weights(made: type[torch.optim.Optimizer]) -> None:
    """torch's device without memory refuses tensors of another as a GPU does."""
    model = small().to("meta")
    optimizer = made([p for name, p in model.named_parameters() if is_hidden_matrix(name, p)], lr=0.1)  # type: ignore[call-arg]
    x = torch.zeros(4, 8, dtype=torch.int64, device="meta")
    for _ in range(2):
        model.loss(x, x).backward()
        optimizer.step()


def test_adamw_is_torchs() -> None:
    a, b = small().double(), small().double()  # a key's bias has no gradient but rounding, which Adam enlarges
    groups = [
        {"params": [p for p in b.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in b.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.8, 0.9), eps=1e-8, fused=False, foreach=False)
    ours = build("adamw", lr=1e-2, betas=[0.8, 0.9], weight_decay=0.1).build(a.named_parameters())
    for x, y in zip(train(a, ours), train(b, reference), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = small()
    hidden = {name for name, p in model.named_parameters() if is_hidden_matrix(name, p)}
    assert len(hidden) == 2 * 4
    optimizer = build("muon", lr=0.5, adamw_lr=0.25).build(model.named_parameters())
    lr = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert lr[id(parameter)] == (0.5 if name in hidden else 0.25)


def test_batched_muon_makes_the_updates_of_torchs_own() -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in [(24, 8), (8, 8), (8, 24), (32, 8), (24, 8)]]
    ours, reference = ([nn.Parameter(p.clone()) for p in start] for _ in range(2))
    batched = BatchedMuon(ours, lr=0.1, weight_decay=0.5, momentum=0.9)
    single = torch.optim.Muon(reference, lr=0.1, weight_decay=0.5, momentum=0.9)
    for _ in range(3):
        for p, q in zip(ours, reference, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        ours[1].grad = reference[1].grad = None
        batched.step()
        single.step()
    assert ours[1].equal(start[1])
    for p, q in zip(ours, reference, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=4e-3)  # bfloat16's rounding, of updates of 0.1
    assert batched.state_dict()["param_groups"] == single.state_dict()["param_groups"]
    single.load_state_dict(batched.state_dict())


def test_muon_updates_are_nearly_orthogonal() -> None:
    """Singular values of an update lie near 1, whatever those of the gradient."""
    model = small()
    weight = next(p for name, p in model.named_parameters() if is_hidden_matrix(name, p))
    optimizer = build("muon", lr=1.0, weight_decay=0.0).build(model.named_parameters())
    before = weight.detach().clone()
    x = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(1))
    model(x, targets=x)[1].backward()
    assert weight.grad is not None
    gradient = weight.grad.clone()
    optimizer.step()
    singular = torch.linalg.svdvals((weight.detach() - before).double())
    scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
    assert 0.6 * scale < float(singular.median()) < 1.3 * scale
    assert float(singular.max()) < 1.3 * scale
    of_gradient = torch.linalg.svdvals(gradient.double())
    assert float(of_gradient.max() / of_gradient.median()) > 3  # which is what made it even


def test_lion_follows_its_formula() -> None:
    torch.manual_seed(0)
    p = nn.Parameter(torch.randn(3, 2))
    start, m = p.detach().clone(), torch.zeros(3, 2)
    optimizer = Lion([p], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    for _ in range(4):
        p.grad = torch.randn(3, 2)
        start = (1 - 0.1 * 0.5) * start - 0.1 * torch.sign(0.9 * m + 0.1 * p.grad)
        m = 0.99 * m + 0.01 * p.grad
        optimizer.step()
        torch.testing.assert_close(p.detach(), start)


@pytest.mark.parametrize(
    ("name", "knobs", "expected"),
    [
        ("constant", {}, [1, 1, 1]),
        ("linear", {"final": 0.0}, [1, 0.5, 0]),
        ("cosine", {"final": 0.1}, [1, 0.55, 0.1]),
        ("wsd", {"decay": 0.5, "final": 0.0}, [1, 1, 0]),
        ("wsd", {"decay": 1.0, "final": 0.2}, [1, 0.6, 0.2]),
    ],
)
def test_schedules_have_their_shape(name: str, knobs: dict[str, float], expected: list[float]) -> None:
    schedule = ScheduleConfig.choose({"name": name, **knobs})
    assert isinstance(schedule, ScheduleConfig)
    assert [schedule.shape(p) for p in (0.0, 0.5, 1.0)] == pytest.approx(expected)


def test_warm_up_is_linear_in_steps_or_a_share_of_the_run() -> None:
    optim = build("adamw", warmup_steps=4, schedule="constant")
    assert [optim.lr_factor(step, 100) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    share = build("adamw", warmup_steps=0.04, schedule="constant")
    assert [share.lr_factor(step, 100) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_nanogpts_schedule_is_ours() -> None:
    """Its published numbers: peak 1e-3, least 1e-4, 100 steps of warm-up, 2,000 in all."""
    optim = build("adamw", lr=1e-3, warmup_steps=100, schedule={"name": "cosine", "final": 0.1})
    for step in (0, 50, 99, 100, 1050, 1999):
        if step < 100:
            expected = 1e-3 * (step + 1) / 101
        else:
            ratio = (step - 100) / 1900
            expected = 1e-4 + 0.5 * (1 + math.cos(math.pi * ratio)) * 9e-4
        assert 1e-3 * optim.lr_factor(step, 2000) == pytest.approx(expected, rel=1e-9)
