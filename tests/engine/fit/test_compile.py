"""Compiled training: it learns what training that is not compiled does, also where a GPU replays its kernels."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from microgpt import train
from microgpt.engine.fit import loop
from microgpt.model.generation.compiled import can_compile
from microgpt.model.kernels import hardware

Tiny = Callable[..., list[str]]


def learnt(folder: Path, words: list[str]) -> tuple[list[list[float]], dict[str, Tensor]]:
    """What a run logs of each step's loss and gradient, and the weights that it ends with."""
    run = train([*words, f"hydra.run.dir={folder}"])
    assert run is not None
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    return [[float(row["train/loss"]), float(row["train/grad_norm"])] for row in rows], run.model.state_dict()


@pytest.mark.slow
@pytest.mark.skipif(not can_compile("cpu"), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses parts that torch has deprecated
@pytest.mark.parametrize(
    ("knobs", "least_width"),
    [("", 1), ("", 1000), ("trainer.compile_mode=reduce-overhead trainer.micro_batch_size=4", 1)],
)
def test_compiled_training_learns_what_eager_training_does(
    knobs: str, least_width: int, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "LAYER_WIDTH", least_width)
    words = tiny("optim=adamw", *knobs.split())
    steps, weights = learnt(tmp_path / "eager", words)
    counters.clear()
    compiled_steps, compiled_weights = learnt(tmp_path / "compiled", [*words, "trainer.compile=true"])
    assert counters["stats"]["unique_graphs"] > 0
    torch.testing.assert_close(torch.tensor(compiled_steps), torch.tensor(steps), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(compiled_weights, weights, rtol=0, atol=2e-3)


class Replay(torch.autograd.Function):
    """A compiled loss as CUDA graphs make it: what a call returned, its gradients too, the next one overwrites."""

    @staticmethod
    def forward(ctx: Any, loss: Callable[[], Tensor], memory: list[Tensor], *weights: Tensor) -> Tensor:
        with torch.enable_grad():
            value = loss()
            results = [value.detach(), *torch.autograd.grad(value, weights)]
        if not memory:
            memory.extend(map(torch.empty_like, results))
        torch._foreach_copy_(memory, results)
        ctx.memory = memory
        return memory[0].detach()

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(gradient.mul_(factor).detach() for gradient in ctx.memory[1:])


def replayed(forward: Any, mode: str) -> Callable[[Tensor, Tensor], Tensor]:
    """In the place of `torch.compile`."""
    weights, memory = list(forward.__self__.parameters()), []  # type: list[Tensor], list[Tensor]
    return lambda x, y: Replay.apply(lambda: forward(x, y), memory, *weights)


@pytest.mark.parametrize("is_short", [True, False])
@pytest.mark.parametrize("knobs", ["", "trainer.micro_batch_size=2", "trainer.micro_batch_size=4 optim=adamw"])
def test_replayed_training_learns_the_same_bits(
    knobs: str, is_short: bool, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_short:
        monkeypatch.setattr(loop, "has_hook", lambda *_: True)
    words = tiny(*knobs.split())
    steps, weights = learnt(tmp_path / "eager", words)
    monkeypatch.setattr(torch, "compile", replayed)
    graphs = ["trainer.compile=true", "trainer.compile_mode=reduce-overhead"]
    replayed_steps, replayed_weights = learnt(tmp_path / "replayed", [*words, *graphs])
    assert replayed_steps == steps
    assert all(torch.equal(replayed_weights[name], weights[name]) for name in weights)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The sizes of the inputs of each graph that torch.compile captures; the code that it makes is the graph."""
    captured: list[list[Any]] = []
    compile_ = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        captured.append([size for x in inputs for size in (x.shape if isinstance(x, Tensor) else [x])])
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function, mode: compile_(function, mode=mode, backend=backend))
    return captured


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("knobs", "count"),
    [("", 1), ("model.dropout=0.1", 1), ("trainer.micro_batch_size=2", 1), ("model.value_embed=true", 2)],
)
def test_layers_that_are_alike_are_compiled_once(
    knobs: str, count: int, tiny: Tiny, graphs: list[list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "LAYER_WIDTH", 1)
    words = tiny("optim=adamw", "model.n_layer=4", *knobs.split())
    steps, weights = learnt(tmp_path / "eager", words)
    compiled_steps, compiled_weights = learnt(tmp_path / "compiled", [*words, "trainer.compile=true"])
    assert len(graphs) == count
    torch.testing.assert_close(torch.tensor(compiled_steps), torch.tensor(steps), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(compiled_weights, weights, rtol=0, atol=2e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_run_is_compiled_as_in_a_process_of_its_own(
    is_whole: bool, tiny: Tiny, graphs: list[list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "LAYER_WIDTH", 1000 if is_whole else 1)
    sizes = (2, 4, 8)
    for size in sizes:  # a second size would be compiled as any size
        train(tiny(f"data.batch_size={size}", "trainer.compile=true", f"hydra.run.dir={tmp_path / str(size)}"))
    assert len(graphs) == len(sizes)
    assert not any(isinstance(size, torch.SymInt) for graph in graphs for size in graph)
