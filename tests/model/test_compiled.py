"""Generation with a compiled step: the same tokens, compiled once, and one line where it cannot be compiled."""

import pytest
import torch
from torch._dynamo.utils import counters

from microgpt.errors import MachineError
from microgpt.model import PositionConfig, compiled
from microgpt.model.linear import linear

needs_compiler = pytest.mark.skipif(not compiled.can_compile("cpu"), reason="needs a C++ compiler")
# torch's compiler uses parts that torch has deprecated.
ignore_deprecations = pytest.mark.filterwarnings("ignore::DeprecationWarning")
MANY_PARTS = {
    "n_kv_head": 2, "ngram_embed": 40, "prev_embed": 3, "value_embed": True, "qk_norm": True, "mlp": "swiglu",
    "resid_scale": True, "logit_softcap": 10.0, "tie_weights": True, "bias": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def compiled_anew():
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
@pytest.mark.parametrize(
    ("scheme", "parts"), [*((name, {}) for name in sorted(PositionConfig.members)), ("rope", MANY_PARTS)]
)
def test_the_tokens_are_those_of_the_plain_step_which_is_compiled_once(make_gpt, ids, scheme, parts, rows):
    """Past the context's end, and from prompts of several lengths."""
    model = make_gpt(pos=scheme, **parts)
    for length, count in ((4, 30), (1, 15), (2, 15), (12, 5)):
        x = ids(rows, length)
        plain = model.generate(x, count, temperature=0.8, generator=seeded())
        assert torch.equal(model.generate(x, count, temperature=0.8, generator=seeded(), compile=True), plain)
    assert counters["stats"]["unique_graphs"] == 1


@needs_compiler
@ignore_deprecations
@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_a_compiled_product_of_one_row_is_the_plain_one(dtype, tolerance):
    weight, bias, x = (torch.randn(*shape).to(dtype) for shape in ((24, 40), (24,), (1, 1, 40)))
    found, plain = torch.compile(linear, dynamic=False)(x, weight, bias), linear(x, weight, bias)
    assert found.dtype is plain.dtype
    torch.testing.assert_close(found, plain, rtol=tolerance, atol=tolerance)
    assert torch.equal(linear(x, weight), torch.nn.functional.linear(x, weight))


def test_nothing_is_compiled_unless_asked_for_nor_without_a_cache(make_gpt, ids):
    model, x = make_gpt(), ids(1, 3)
    plain = model.generate(x, 4, do_sample=False)
    assert torch.equal(model.generate(x, 4, do_sample=False, use_cache=False, compile=True), plain)
    assert not counters["stats"]


def test_without_a_compiler_it_says_so_before_the_first_token(make_gpt, ids, monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(MachineError, match=r"cannot compile here in generation on cpu; install g\+\+"):
        make_gpt().generate(ids(1, 3), 4, compile=True)
