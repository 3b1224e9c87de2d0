"""int8 weights: a little less exact, refused where they make no sense, and the rest of the model as it was."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microgpt import GPT, load, train
from microgpt.engine.commands import evaluate, generate
from microgpt.errors import MachineError, UsageError
from microgpt.model.generation import compiled
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.kernels import hardware, torch_private
from microgpt.model.kernels.int8 import Int8Product, is_quantized, quantize

Tiny = Callable[..., list[str]]
pytestmark = pytest.mark.skipif(not torch_private.has_fbgemm(), reason="the CPU has no int8 products")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, trained on the text of this repository."""
    folder = tmp_path_factory.mktemp("int8")
    source = Path(__file__).parents[3] / "src" / "microgpt"
    (folder / "text.txt").write_text("".join(p.read_text() for p in sorted(source.rglob("*.py")))[:400_000])
    words = (
        "model.n_layer=2 model.n_head=2 model.n_embd=64 model.block_size=64 data.batch_size=16 trainer.max_steps=120"
    )
    train([*words.split(), "trainer.compile=false", "sample.max_new_tokens=1", "trainer.progress=none",
           f"data.path={folder / 'text.txt'}", f"hydra.run.dir={folder / 'run'}"])  # fmt: skip
    return folder / "run"


def scored(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> float:
    assert evaluate.main([str(run), "--json", *words]) == 0
    return float(json.loads(capsys.readouterr().out)["loss"])


def test_the_loss_of_a_trained_model_is_within_0_005_nats(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact, rough = scored(run, capsys), scored(run, capsys, "--weights", "int8")
    assert exact < 2.9
    assert 0 < abs(rough - exact) < 0.005


@pytest.mark.parametrize("has_vnni", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_product_is_near_the_float_one_and_rows_do_not_depend_on_one_another(
    dtype: torch.dtype, rows: int, has_vnni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_CPU", hardware.Hardware("cpu", has_bf16=True, has_vnni=has_vnni))
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(96, 40).to(dtype)
    x = torch.randn(rows, 96, generator=generator) * torch.tensor([[1.0], [1e-3], [1e3]])[:rows]
    with torch.no_grad():
        product = Int8Product(layer.weight, layer.bias)
        y, exact = product(x.to(dtype)), layer(x.to(dtype))
        assert y.dtype is dtype
        assert y.shape == exact.shape
        error = (y - exact).float().norm(dim=-1) / exact.float().norm(dim=-1)
        assert float(error.max()) < (0.012 if has_vnni else 0.02)
        for one, many in zip(x.to(dtype).split(1), y, strict=True):
            torch.testing.assert_close(product(one)[0], many, rtol=1e-2, atol=1e-2 * float(many.abs().max()))


def test_rows_and_inputs_of_zeros_are_zeros() -> None:
    with torch.no_grad():
        product = Int8Product(torch.zeros(8, 16))
        for x in (torch.zeros(1, 16), torch.zeros(2, 3, 16), torch.ones(1, 16)):
            assert product(x).abs().max() == 0
        assert product(torch.ones(0, 16)).shape == (0, 8)


@pytest.mark.parametrize("parts", [{}, {"tie_weights": True}, {"mlp": "swiglu", "bias": True, "n_kv_head": 1}])
def test_a_model_generates_with_its_cache_as_without(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], parts: dict[str, Any]
) -> None:
    model = make_gpt(**parts).eval()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    x = ids(2, 5)
    exact = model(x)[0].detach()
    quantize(model)
    assert is_quantized(model)
    with torch.no_grad():
        rough = model(x)[0]
    assert 0 < float((rough - exact).norm() / exact.norm()) < 0.05
    first, second = (model.generate(x, 40, do_sample=False, use_cache=cached) for cached in (True, False))
    assert float((first == second).float().mean()) > 0.9
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_int8_weights_are_not_trained(run: Path) -> None:
    quantized = load(run, weights="int8")
    with pytest.raises(UsageError, match="int8 weights cannot be trained in this model; load it again"):
        quantized.model(torch.zeros(1, 2, dtype=torch.int64))
    assert len(quantized.generate("a", max_new_tokens=5, seed=0)) == 6
    assert not is_quantized(load(run).model)


@pytest.mark.slow
@pytest.mark.skipif(not compiled.can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_compiled_step_multiplies_with_the_same_integers(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    """Its inputs are not rounded, so its logits are those of a model with the rounded weights in float32."""
    model = make_gpt(mlp="swiglu", bias=True, tie_weights=True).to(dtype)
    rounded = copy.deepcopy(model).float()
    quantize(model)
    for name, module in rounded.named_modules():
        product = vars(model.get_submodule(name)).get("forward")
        if isinstance(product, Int8Product):
            module.weight.copy_(product.integers * product.scale[:, None])
    x, cache = ids(1, 6), KVCache(model.config.n_layer, 13)
    rounded.trunk(x[:, :5], cache)
    same = copy.deepcopy(cache)
    head = vars(model)["project"]
    expected = F.linear(rounded.trunk(x[:, 5:], cache)[:, -1], head.integers * head.scale[:, None])
    logits = compiled.DynamicStep()(model, x[:, 5:], same)
    tolerance = 2e-5 if dtype is torch.float32 else 3e-2
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


def test_many_texts_with_int8_weights_are_not_compiled(caplog: pytest.LogCaptureFixture) -> None:
    assert compiled.faster_step(torch.device("cpu"), 2, is_int8=True) is None
    assert "2 texts at once are faster without compiling" in caplog.text


def test_int8_weights_are_not_compiled_where_that_is_slower(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hardware, "_CPU", hardware.Hardware("cpu", has_bf16=False, kind="avx2"))
    assert compiled.faster_step(torch.device("cpu"), 1, is_int8=True) is None
    assert caplog.messages == ["warning: int8 weights are faster without compiling, which is left out"]


def test_a_machine_without_int8_products_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_private, "has_fbgemm", lambda: False)
    with pytest.raises(MachineError, match="int8 weights need an x86 CPU in this machine; take --device cpu"):
        load(run, weights="int8")


def test_the_command_takes_them_and_refuses_others(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(run), "--prompt", "def", "--max-new-tokens", "4", "--seed", "1"]
    assert generate.main([*words, "--weights", "int8"]) == 0
    assert capsys.readouterr().out.startswith("def")
    assert generate.main([*words, "--weights", "int4"]) == 2
    assert "no weights 'int4' in weights; take stored or int8" in capsys.readouterr().err


def test_the_engine_of_other_quantized_models_is_left_as_it_was() -> None:
    before = torch.backends.quantized.engine
    Int8Product(torch.ones(4, 8))
    assert torch.backends.quantized.engine == before
