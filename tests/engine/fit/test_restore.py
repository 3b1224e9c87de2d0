"""A checkpoint's optimizer state is of the run's optimizer and parameters, or what differs is named."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from microgpt.engine.fit.restore import optimizer_fault
from microgpt.engine.optim import OptimConfig

Spoil = Callable[[dict[str, Any]], object]


def parameters() -> list[tuple[str, nn.Parameter]]:
    shapes = {"wte.weight": (7, 4), "blocks.0.mlp.out.weight": (4, 12), "norm.weight": (4,)}
    return [(name, nn.Parameter(torch.ones(shape))) for name, shape in shapes.items()]


def saved(optim: OptimConfig) -> dict[str, Any]:
    """The state after one step, as a checkpoint gives it back."""
    named = parameters()
    optimizer = optim.build(named)
    for _, parameter in named:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return copy.deepcopy(optimizer.state_dict())


@pytest.mark.parametrize("name", sorted(OptimConfig.members))
def test_the_state_of_the_same_optimizer_fits_at_any_learning_rate(name: str) -> None:
    optim = OptimConfig.members[name]()
    state = saved(optim)
    for part in state.get("parts", [state]):
        part["param_groups"][0]["lr"] = 0.123
    assert optimizer_fault(state, optim, parameters()) == ""


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda s: s.pop("state"), "the optimizer state has another form"),
        (lambda s: s["param_groups"].pop(), "the optimizer state has other parameter groups"),
        (lambda s: s.update(state=[]), "the optimizer state has other parameter groups"),
        (lambda s: s["param_groups"][0].pop("betas"), "a parameter group has other entries"),
        (lambda s: s["param_groups"][0].update(lr=math.inf), "a learning rate is no number"),
        (lambda s: s["param_groups"][0].update(lr=-1e-3), "a learning rate is no number"),
        (lambda s: s["param_groups"][1].update(lr=True), "a learning rate is no number"),
        (lambda s: s["param_groups"][0].update(betas=(0.5, 0.5)), "a parameter group has another betas"),
        (lambda s: s["state"].update({3: {}}), "a state of no parameter"),
        (lambda s: s["state"].update({"0": {}}), "a state of no parameter"),
        (lambda s: s["state"][1].pop("step"), "parameter 1 has another state"),
        (lambda s: s["state"][0].update(exp_avg=torch.ones(2, 2)), "the exp_avg of parameter 0 has another shape"),
        (lambda s: s["state"][2].update(exp_avg=torch.ones(4).long()), "the exp_avg of parameter 2 has another shape"),
        (lambda s: s["state"][2].update(step=torch.ones(1)), "the step of parameter 2 has another shape"),
    ],
)
def test_what_differs_is_named(spoil: Spoil, fault: str) -> None:
    optim = OptimConfig.members["adamw"]()
    state = saved(optim)
    spoil(state)
    assert optimizer_fault(state, optim, parameters()) == fault


def test_a_state_of_several_optimizers_has_one_part_for_each() -> None:
    optim = OptimConfig.members["muon"]()
    state = saved(optim)
    assert optimizer_fault({"parts": state["parts"][:1]}, optim, parameters()) == "the state of 1 optimizers, not of 2"
    assert optimizer_fault(state["parts"], optim, parameters()) == "the optimizer state has another form"
    state["parts"][1]["state"][0]["exp_avg"] = torch.ones(3)
    assert optimizer_fault(state, optim, parameters()) == "the exp_avg of parameter 0 has another shape"
