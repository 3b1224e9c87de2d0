"""The ONNX export: onnxruntime computes what Python computes, for any batch, and what ONNX cannot say is refused."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from varied_models import KINDS, Kind, make_run, own_scheme

from microgpt.engine.exchange.export import export
from microgpt.engine.exchange.formats.onnx import OneStep, reopened
from microgpt.engine.exchange.one_token import stored_copy
from microgpt.errors import MachineError, UsageError
from microgpt.extras import package
from microgpt.model.pos import Position


@pytest.fixture(autouse=True)
def _wobble() -> Iterator[None]:
    with own_scheme():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("pos", KINDS)
def test_onnxruntime_computes_what_python_computes(pos: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", pos, KINDS[pos])
    out = tmp_path / "out"
    assert export(run, out, "onnx") <= 1e-4
    _, logits = reopened(out / "model.onnx", OneStep(stored_copy(run.model)))
    for batch in (1, 3):
        x = torch.randint(run.model.vocab_size, (batch, run.config.block_size))
        with torch.no_grad():
            expected = run.model(x)[0]
        assert expected.std() > 0.3
        assert (logits(x) - expected).abs().max() <= 1e-4


@pytest.mark.slow
def test_the_card_says_how_and_its_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", "t5", Kind({"prev_embed": 2}))
    out = tmp_path / "out"
    export(run, out, "onnx")
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "model.onnx", "tokenizer.json"]
    card = (out / "README.md").read_text()
    assert "| `past.tokens` | int64 (B, 2) | `present.tokens` | the same |" in card
    program = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert program is not None
    monkeypatch.chdir(out)
    names: dict[str, np.ndarray] = {}
    exec(program[1], names)
    with torch.no_grad():
        expected = run.model(torch.tensor([[0, 1, 2]]))[0][0, -1]
    assert np.abs(names["logits"][0] - expected.numpy()).max() <= 1e-4


class Untellable(Position):
    """Depends on a value in a way that no graph can say."""

    def embed(self, x: Tensor, start: int | Tensor) -> Tensor:
        return x * (2 if int(start) % 2 else 1)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "html"])
def test_what_cannot_be_said_is_refused_before_a_file_appears(format: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "none", Kind({}))
    run.model.pos = Untellable()
    with pytest.raises(UsageError, match=r"torch.export cannot follow the model .*read tables with `pos.base.rows`"):
        export(run, tmp_path / "out", format)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_missing_package_is_named() -> None:
    with pytest.raises(MachineError, match=r"pip install 'microgpt\[onnx\]'"):
        package("onnx_that_nobody_has", "onnx", "this format", "--format onnx")
