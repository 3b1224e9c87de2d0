"""Every private name of torch is there, and one that is gone is a clear error."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from microgpt.errors import MachineError
from microgpt.model.kernels import hardware, linear, packed, torch_private

ONEDNN = {"ops.mkldnn._linear_pointwise.default", "ops.mkldnn._reorder_linear_weight"}
FOREACH = ("lerp", "lerp_", "sign_", "mul_", "add_", "copy_", "norm")
INT8 = {"ops.quantized.linear_prepack", "ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default"}
FAKE = ("FakeTensorMode", "DataDependentOutputException", "DynamicOutputShapeException")
NAMES = [
    *sorted(ONEDNN),
    "compiler.config.patch",
    "_make_per_channel_quantized_tensor",
    *sorted(INT8),
    "utils._python_dispatch.TorchDispatchMode",
    *(f"utils._pytree.tree_{name}" for name in ("leaves", "map", "unflatten")),
    *(f"_foreach_{name}" for name in FOREACH),
    *(f"_subclasses.fake_tensor.{name}" for name in FAKE),
]
needs_onednn = pytest.mark.skipif(not hardware.of("cpu").has_onednn, reason="the CPU has no oneDNN products")


@pytest.fixture(autouse=True)
def found_anew() -> Any:
    """Names that were found before are forgotten."""
    for cached in (torch_private.linear_pointwise, torch_private.foreach):
        cached.cache_clear()
    yield
    for cached in (torch_private.linear_pointwise, torch_private.foreach):
        cached.cache_clear()


@pytest.mark.parametrize("name", [pytest.param(n, marks=needs_onednn if n in ONEDNN else []) for n in NAMES])
def test_this_torch_has_the_name(name: str) -> None:
    assert callable(torch_private.find(name))


@needs_onednn
def test_the_names_do_what_their_functions_say() -> None:
    x, layer = torch.randn(3, 24), nn.Linear(24, 40)
    with torch.no_grad():
        packed_weight = torch_private.reorder_linear_weight(layer.weight, 16)
        for weight in (layer.weight, packed_weight):
            y = torch_private.linear_pointwise()(x, weight, layer.bias, "none", [], "")
            torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-4)
    before = torch_private.find("compiler.config.dynamic_sources")
    with torch_private.dynamic_sources("L['n']"):
        assert torch_private.find("compiler.config.dynamic_sources") == "L['n']"
    assert torch_private.find("compiler.config.dynamic_sources") == before


def test_operations_on_lists_do_it_to_each_tensor() -> None:
    tensors = [torch.tensor([1.0, -3.0]), torch.tensor([5.0])]
    targets = [torch.tensor([3.0, 1.0]), torch.tensor([1.0])]
    assert [t.tolist() for t in torch_private.foreach("lerp")(tensors, targets, 0.5)] == [[2.0, -1.0], [3.0]]
    assert [float(norm) for norm in torch_private.foreach("norm")(tensors, math.inf)] == [3.0, 5.0]
    torch_private.foreach("lerp_")(tensors, targets, 0.25)
    assert [t.tolist() for t in tensors] == [[1.5, -2.0], [4.0]]
    torch_private.foreach("add_")(tensors, targets, alpha=-1)
    assert [t.tolist() for t in tensors] == [[-1.5, -3.0], [3.0]]
    torch_private.foreach("mul_")(tensors, 2)
    assert [t.tolist() for t in tensors] == [[-3.0, -6.0], [6.0]]
    torch_private.foreach("sign_")(tensors)
    assert [t.tolist() for t in tensors] == [[-1.0, -1.0], [1.0]]
    torch_private.foreach("copy_")(tensors, targets)
    assert [t.tolist() for t in tensors] == [[3.0, 1.0], [1.0]]


def test_tensors_of_sizes_alone_have_no_values() -> None:
    with torch_private.sizes_only():
        product = torch.ones(1 << 30, 8) @ torch.ones(8, 8)  # 32 GiB, were there memory
        assert product.shape == (1 << 30, 8)
        with pytest.raises(torch_private.value_is_missing()):
            product[0, 0].item()
        with pytest.raises(torch_private.value_is_missing()):
            product.nonzero()


def gone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Take the name away from torch."""
    *parents, last = name.removesuffix(".default").split(".")
    if not parents:
        monkeypatch.delattr(torch, last)
        return
    parent: Any = torch
    for part in parents[:-1]:
        parent = getattr(parent, part)
    rest = {n: None for n in ("_linear_pointwise", "_reorder_linear_weight", *FAKE) if n != last}
    monkeypatch.setattr(parent, parents[-1], SimpleNamespace(**rest))


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("ops.mkldnn._linear_pointwise.default", lambda: linear._onednn(torch.ones(2, 3), torch.ones(4, 3), None)),
        ("ops.mkldnn._reorder_linear_weight", lambda: packed._product(torch.ones(4, 3), None, 16)),
        ("_foreach_sign_", lambda: torch_private.foreach("sign_")),
        ("_subclasses.fake_tensor.FakeTensorMode", torch_private.sizes_only),
        ("_subclasses.fake_tensor.DynamicOutputShapeException", torch_private.value_is_missing),
        ("compiler.config.patch", lambda: torch_private.dynamic_sources("L['n']")),
    ],
)
def test_a_name_that_is_gone_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, name: str, use: Any) -> None:
    gone(monkeypatch, name)
    with pytest.raises(MachineError) as error:
        use()
    version, checked = torch.__version__, torch_private.CHECKED
    assert f"torch {version} has no torch.{name} in microgpt.model.kernels" in str(error.value)
    assert f'pip install "torch{checked}"' in str(error.value)


def test_the_checked_versions_are_those_that_are_required() -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"torch{torch_private.CHECKED}" in project["dependencies"]
