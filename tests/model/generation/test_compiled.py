"""Generation with a compiled step: the same tokens, compiled once, and one line where it cannot be compiled."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from microgpt import GPT
from microgpt.errors import MachineError
from microgpt.model import PositionConfig
from microgpt.model.generation import compiled
from microgpt.model.generation import stream as generate
from microgpt.model.generation.sampling import SamplingParams
from microgpt.model.kernels import compiling, hardware, torch_private
from microgpt.model.kernels.linear import linear

needs_compiler = pytest.mark.skipif(not compiled.can_compile("cpu"), reason="needs a C++ compiler")
# torch's compiler uses parts that torch has deprecated.
ignore_deprecations = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MANY_PARTS = {
    "n_kv_head": 2, "ngram_embed": 40, "prev_embed": 3, "value_embed": True, "qk_norm": True, "mlp": "swiglu",
    "resid_scale": True, "logit_softcap": 10.0, "tie_weights": True, "bias": True,
}  # fmt: skip
CASES = [
    *((name, {}) for name in sorted(PositionConfig.members)),
    ("rope", MANY_PARTS),
    ("t5", {"attention": "reference"}),
]


@pytest.fixture(autouse=True)
def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hardware, "COMPILED_ROWS", dict.fromkeys(hardware.CPU_FLOPS, 100))
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.slow
@needs_compiler
@ignore_deprecations
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("scheme", "parts"), CASES[:-1])
def test_the_tokens_are_those_of_the_plain_step_which_is_compiled_once(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str, parts: dict[str, Any], rows: int
) -> None:
    """Past the context's end, and from prompts of several lengths."""
    model = make_gpt(pos=scheme, **parts)
    for length, count in ((4, 30), (1, 15), (2, 15), (12, 5)):
        x = ids(rows, length)
        plain = model.generate(x, count, temperature=0.8, generator=seeded())
        assert torch.equal(model.generate(x, count, temperature=0.8, generator=seeded(), compile=True), plain)
    assert counters["stats"]["unique_graphs"] == 1


def test_a_text_declares_once_that_its_position_changes(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Declaring takes 0.2 ms, a tenth of a token."""
    declared: list[str] = []

    @contextlib.contextmanager
    def declaring(names: str) -> Iterator[None]:
        declared.append(names)
        yield
        declared.append("end")

    monkeypatch.setattr(torch_private, "dynamic_sources", declaring)
    monkeypatch.setattr(compiled, "_compiler", lambda **_: lambda *_: torch.tensor(len(declared)))
    step, model = compiled.DynamicStep(), make_gpt()
    assert [int(step(model, ids(1, 1), None)) for _ in range(3)] == [1, 2, 2]
    assert declared == ["L['cache'].length", "end"]


@pytest.mark.parametrize("is_int8", [False, True])
def test_a_step_is_compiled_with_the_vectors_that_suit_the_cpu(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch, is_int8: bool
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(compiling, "compiled", lambda f, **given: asked.append(given.get("options")) or f)
    for kind in ("avx512", "avx2", "arm"):
        cpu = hardware.Hardware("cpu", has_bf16=False, kind=kind)
        monkeypatch.setattr(hardware, "of", lambda device, cpu=cpu: cpu)
        compiled._compiler.cache_clear()
        compiled.DynamicStep(is_int8)(make_gpt(), ids(1, 1), None)
    compiled._compiler.cache_clear()
    assert asked == [None if is_int8 else {"cpp.simdlen": 256}, None, None]


class Recording(TorchDispatchMode):
    """A CUDA graph's stand-in: what a step asked of its tensors, done again on the same ones when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert operation is not torch.ops.aten._local_scalar_dense.default, (
            "a recorded step read a number of the device"
        )
        result = operation(*args, **(kwargs or {}))
        self.calls.append((operation, args, kwargs or {}, result))
        return result

    def __call__(self) -> Tensor:
        for operation, args, kwargs, result in self.calls:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        return self.calls[-1][-1]


def recorded(step: Callable[[], Tensor], device: Any) -> Any:
    with Recording() as recording:
        step()
    return recording


@pytest.mark.parametrize(("scheme", "parts"), CASES)
def test_a_step_recorded_once_makes_every_token(
    make_gpt: Callable[..., GPT],
    ids: Callable[..., Tensor],
    scheme: str,
    parts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Past the context's end, and from prompts of several lengths."""
    steps = []

    def static_step(device: str, is_int8: bool, rows: int) -> Any:
        steps.append(compiled.StaticStep(compiled.next_logits, recorded))
        return steps[-1]

    monkeypatch.setattr(compiled, "compiled_next_logits", static_step)
    model = make_gpt(pos=scheme, **parts)
    for length, count in ((4, 30), (1, 15), (2, 15), (12, 5)):
        x = ids(2, length)
        plain = model.generate(x, count, temperature=0.8, generator=seeded())
        assert torch.equal(model.generate(x, count, temperature=0.8, generator=seeded(), compile=True), plain)
        assert len(steps.pop().replay.calls) > 20  # type: ignore[attr-defined]


def test_many_texts_are_recorded_anew_as_they_grow(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a step does not read memory for keys and values that are not there yet. Past the context's end, too."""
    model, x = make_gpt(block_size=150), ids(2, 4)
    steps: list[compiled.StaticStep] = []

    def counted(step: Callable[[], Tensor], device: Any) -> Any:
        assert steps[-1].cache is not None
        widths.append(steps[-1].cache.capacity)
        return recorded(step, device)

    def static_step(*_: Any) -> Any:
        steps.append(compiled.StaticStep(compiled.next_logits, counted))
        return steps[-1]

    monkeypatch.setattr(compiled, "compiled_next_logits", static_step)
    plain = model.generate(x, 160, temperature=0.8, top_k=5, top_p=0.9, generator=seeded())
    for few, expected in ((2**30, [150]), (0, [64, 128, 150])):
        monkeypatch.setattr(compiled, "_WIDE", few)
        widths: list[int] = []
        made = model.generate(x, 160, temperature=0.8, top_k=5, top_p=0.9, generator=seeded(), compile=True)
        assert torch.equal(made, plain)
        assert widths == expected


def test_a_gpu_records_what_computes_the_same_at_each_call(
    make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Own(torch.nn.Module):
        pass

    def is_recorded(model: torch.nn.Module, rows: int = 1, count: int = 32) -> bool:
        monkeypatch.setattr(compiled, "_device", lambda model: torch.device("cuda"))
        return compiled.recorded_next_logits(model, rows, count) is not None  # type: ignore[arg-type]

    model = make_gpt(pos="alibi", mlp="swiglu")
    assert compiled.recorded_next_logits(model, 1, 1000) is None
    assert is_recorded(model)
    assert is_recorded(model, rows=64)
    assert not is_recorded(model, rows=65)
    assert not is_recorded(model, count=31)
    with model.patched({"blocks.0.mlp": 0.0}):
        assert not is_recorded(model)
    hook = model.blocks[1].register_forward_pre_hook(lambda *_: None)
    assert not is_recorded(model)
    hook.remove()
    assert is_recorded(model)
    model.blocks[1].mlp.forward = model.blocks[1].mlp.forward
    assert not is_recorded(model)
    del model.blocks[1].mlp.forward
    assert is_recorded(model)
    model.blocks[0].mlp = Own()
    assert not is_recorded(model)


def test_one_text_on_a_gpu_is_compiled_with_tuned_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(compiling, "compiled", lambda f, **given: asked.append(given.get("options")) or f)
    monkeypatch.setattr(compiled, "can_compile", lambda accelerator: True)
    compiled._compiler.cache_clear()
    for rows in (1, 2):
        assert isinstance(compiled.faster_step(torch.device("cuda"), rows), compiled.StaticStep)
    compiled._compiler.cache_clear()
    assert asked == [{"coordinate_descent_tuning": True}, None]


@pytest.mark.cuda
@ignore_deprecations
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("scheme", "parts"), CASES)
def test_a_gpu_makes_the_tokens_of_a_recorded_step_that_it_makes_without(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], scheme: str, parts: dict[str, Any]
) -> None:
    """Compiled and not."""
    model = make_gpt(pos=scheme, **parts).cuda()
    for length, count in ((4, 40), (1, 35), (12, 32)):
        x = ids(2, length).cuda()
        hook = model.register_forward_hook(lambda *_: None)
        assert compiled.recorded_next_logits(model, 2, count) is None
        plain = model.generate(x, count, temperature=0.8, generator=seeded())
        hook.remove()
        assert compiled.recorded_next_logits(model, 2, count) is not None
        for compile in (False, True):
            assert torch.equal(model.generate(x, count, temperature=0.8, generator=seeded(), compile=compile), plain)


@pytest.mark.slow
@needs_compiler
@ignore_deprecations
def test_the_recorded_step_compiles_as_one_graph_for_all_texts(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]
) -> None:
    model, x = make_gpt(**MANY_PARTS), ids(1, 4)
    step = torch.compile(compiled.next_logits, dynamic=False, fullgraph=True)
    for count in (30, 5):
        static = compiled.StaticStep(step, lambda step, device: step)
        tokens = generate.tokens(model, x, count, SamplingParams(do_sample=False), True, static)
        plain = model.generate(x, count, do_sample=False)[:, 4:]
        assert torch.equal(torch.stack(list(tokens), dim=1), plain)
    assert counters["stats"]["unique_graphs"] == 1


@needs_compiler
@ignore_deprecations
@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_a_compiled_product_of_one_row_is_the_plain_one(dtype: torch.dtype, tolerance: float) -> None:
    weight, bias, x = (torch.randn(*shape).to(dtype) for shape in ((24, 40), (24,), (1, 1, 40)))
    found, plain = torch.compile(linear, dynamic=False)(x, weight, bias), linear(x, weight, bias)
    assert found.dtype is plain.dtype
    torch.testing.assert_close(found, plain, rtol=tolerance, atol=tolerance)
    assert torch.equal(linear(x, weight), torch.nn.functional.linear(x, weight))


def test_nothing_is_compiled_unless_asked_for_nor_without_a_cache(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor]
) -> None:
    model, x = make_gpt(), ids(1, 3)
    plain = model.generate(x, 4, do_sample=False)
    assert torch.equal(model.generate(x, 4, do_sample=False, use_cache=False, compile=True), plain)
    assert not counters["stats"]


def test_without_a_compiler_it_says_so_before_the_first_token(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=r"cannot compile here in generation on cpu; install g\+\+"):
        make_gpt().generate(ids(1, 3), 4, compile=True)


@pytest.mark.parametrize("kind", hardware.CPU_FLOPS)
def test_so_many_texts_that_a_compiled_step_is_slower_are_not_compiled_and_it_says_so(
    make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], kind: str,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr(hardware, "_CPU", hardware.Hardware("cpu", has_bf16=False, kind=kind))
    monkeypatch.setattr(compiled, "compiled_next_logits", lambda *_: pytest.fail("compiled"))
    model, x = make_gpt(), ids(16, 3)
    for rows in (16, 2):
        made = model.generate(x[:rows], 4, generator=seeded(), compile=True)
        assert torch.equal(made, model.generate(x[:rows], 4, generator=seeded()))
        said = f"warning: {rows} texts at once are faster without compiling, which is left out"
        assert caplog.messages.pop() == said
    with pytest.raises(pytest.fail.Exception, match="compiled"):
        model.generate(x[:1], 4, compile=True)
