"""Every private name of torch is there, and one that is gone is a clear error."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from microgpt.errors import MachineError
from microgpt.model import GPT, GPTConfig
from microgpt.model.generation import compiled
from microgpt.model.kernels import hardware, linear, packed, torch_private

ONEDNN = {"ops.mkldnn._linear_pointwise.default", "ops.mkldnn._reorder_linear_weight"}
NAMES = [*sorted(ONEDNN), "compiler.config.patch"]
needs_onednn = pytest.mark.skipif(not hardware.of("cpu").has_onednn, reason="the CPU has no oneDNN products")


@pytest.fixture(autouse=True)
def found_anew() -> Any:
    """Names that were found before are forgotten."""
    torch_private.linear_pointwise.cache_clear()
    yield
    torch_private.linear_pointwise.cache_clear()


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


def gone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Take the name away from torch."""
    *parents, last = name.removesuffix(".default").split(".")
    parent: Any = torch
    for part in parents[:-1]:
        parent = getattr(parent, part)
    rest = {n: None for n in ("_linear_pointwise", "_reorder_linear_weight") if n != last}
    monkeypatch.setattr(parent, parents[-1], SimpleNamespace(**rest))


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("ops.mkldnn._linear_pointwise.default", lambda: linear._onednn(torch.ones(2, 3), torch.ones(4, 3), None)),
        ("ops.mkldnn._reorder_linear_weight", lambda: packed._product(torch.ones(4, 3), None, 16)),
        ("compiler.config.patch", lambda: compiled._compiled(gpt(), torch.zeros(1, 1, dtype=torch.int64), None)),
    ],
)
def test_a_name_that_is_gone_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, name: str, use: Any) -> None:
    gone(monkeypatch, name)
    with pytest.raises(MachineError) as error:
        use()
    version, checked = torch.__version__, torch_private.CHECKED
    assert f"torch {version} has no torch.{name} in microgpt.model.kernels" in str(error.value)
    assert f'pip install "torch{checked}"' in str(error.value)


def gpt() -> GPT:
    return GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4), 5)


def test_the_checked_versions_are_those_that_are_required() -> None:
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"torch{torch_private.CHECKED}" in project["dependencies"]
