"""Check the form of a checkpoint's state before using it. Imports only torch.

Checksums show that a checkpoint is intact, not who wrote it: anyone who can make a folder can make its checksums. These
functions therefore compare the state with the state of a stand-in optimizer and of the run's callbacks.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from microgpt.engine.optim import OptimConfig
from microgpt.errors import CheckpointError


def optimizer_fault(found: Any, optim: OptimConfig, parameters: Iterable[tuple[str, nn.Parameter]]) -> str:
    """Describe why a saved optimizer state does not fit these parameters; empty if it fits."""
    shapes = [(name, tuple(p.shape)) for name, p in parameters if p.requires_grad]
    # One step of the same optimizer over tiny parameters shows which state each parameter has.
    tiny = [(name, nn.Parameter(torch.zeros([min(2, n) for n in shape]))) for name, shape in shapes]
    optimizer = optim.build(tiny)
    for _, parameter in tiny:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    full = {id(parameter): shape for (_, parameter), (_, shape) in zip(tiny, shapes, strict=True)}
    parts = getattr(optimizer, "optimizers", None)
    if parts is None:
        return _part_fault(found, optimizer, full)
    if not isinstance(found, dict) or set(found) != {"parts"} or not isinstance(found["parts"], list):
        return "the optimizer state has another form"
    if len(found["parts"]) != len(parts):
        return f"the state of {len(found['parts'])} optimizers, not of {len(parts)}"
    faults = (_part_fault(state, part, full) for state, part in zip(found["parts"], parts, strict=True))
    return next((fault for fault in faults if fault), "")


def _part_fault(found: Any, optimizer: torch.optim.Optimizer, full: Mapping[int, tuple[int, ...]]) -> str:
    wanted = optimizer.state_dict()
    if not isinstance(found, dict) or set(found) != set(wanted):
        return "the optimizer state has another form"
    groups, states = found["param_groups"], found["state"]
    if not isinstance(groups, list) or len(groups) != len(wanted["param_groups"]) or not isinstance(states, dict):
        return "the optimizer state has other parameter groups"
    for group, pattern in zip(groups, wanted["param_groups"], strict=True):
        if fault := _group_fault(group, pattern):
            return fault
    order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, state in states.items():
        if type(index) is not int or not 0 <= index < len(order) or not isinstance(state, dict):
            return "a state of no parameter"
        tiny = order[index]
        if fault := _parameter_fault(index, state, wanted["state"].get(index, {}), tiny, full[id(tiny)]):
            return fault
    return ""


def _group_fault(group: Any, wanted: Mapping[str, Any]) -> str:
    """Describe a fault in a saved parameter group: all but its learning rate must match the run's optimizer."""
    if not isinstance(group, dict) or set(group) != set(wanted):
        return "a parameter group has other entries"
    for key, value in wanted.items():
        if key == "lr" and (not _is_number(group[key]) or not 0 <= group[key] < math.inf):
            return "a learning rate is no number"
        if key != "lr" and not _equal(group[key], value):
            return f"a parameter group has another {key}"
    return ""


def _parameter_fault(
    index: int, found: Mapping[str, Any], wanted: Mapping[str, Tensor], tiny: Tensor, shape: tuple[int, ...]
) -> str:
    """Describe a fault in the saved state of a parameter of this shape, given its tiny stand-in's state."""
    if set(found) != set(wanted):
        return f"parameter {index} has another state"
    for key, tensor in found.items():
        pattern = wanted[key]
        size = shape if pattern.shape == tiny.shape and pattern.ndim else tuple(pattern.shape)
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != size or not tensor.is_floating_point():
            return f"the {key} of parameter {index} has another shape"
    return ""


def unfit(fault: str) -> CheckpointError:
    """The error for a state that does not fit this run's model, optimizer and callbacks."""
    return CheckpointError(f"a state that does not fit this run ({fault})", "the checkpoint",
                           "remove it to resume from an earlier one")  # fmt: skip


def callbacks_fault(found: Any, forms: Mapping[str, Any]) -> str:
    """Describe a fault in the saved callback states, given the form of each built-in state; empty if there is none.

    A user's callbacks may save any state, and may have been added or dropped since.
    """
    if not isinstance(found, dict) or not forms.keys() <= found.keys():
        return "callbacks has other entries"
    if not all(isinstance(key, str) and isinstance(state, dict) for key, state in found.items()):
        return "callbacks holds something else than states"
    return form_fault({key: found[key] for key in forms}, dict(forms), "callbacks") if forms else ""


def form_fault(found: Any, pattern: Any, path: str) -> str:
    """Describe where a nested state of plain values differs from a pattern in keys or types; empty if nowhere."""
    if isinstance(pattern, dict):
        if not isinstance(found, dict) or (pattern and set(found) != set(pattern)):
            return f"{path} has other entries"
        if not pattern:  # numbers by name, added as the run goes on
            return (
                "" if all(isinstance(k, str) and _is_number(v) for k, v in found.items()) else f"{path} has no figures"
            )
        return next((fault for key in pattern if (fault := form_fault(found[key], pattern[key], f"{path}.{key}"))), "")
    same = _is_number(found) if _is_number(pattern) else type(found) is type(pattern)
    return "" if same else f"{path} is of another type"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return False
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)
