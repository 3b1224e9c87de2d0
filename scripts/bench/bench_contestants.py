"""What is trained in the benchmarks: shapes, their texts, and microgpt as its command trains."""

import contextlib
import csv
import io
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import microgpt.engine.train as engine
from bench_rig import Bench
from microgpt import GPT, GPTConfig
from microgpt.data.windows import Windows

REFERENCE = (
    "model.pos=rope model.norm=rmsnorm model.mlp=gelu model.init=gpt2 model.qk_norm=false model.tie_weights=false"
)
NANOGPT = (
    "model.pos=learned model.norm=layernorm model.mlp=gelu model.init=gpt2 model.qk_norm=false model.tie_weights=true"
)
"""The parts of a course's GPT, and nanoGPT's: the same maths on both sides of a comparison."""
QUIET = (
    "experiment=null model=gpt-micro optim=adamw model.dropout=0 model.bias=false data.val_fraction=0.01 "
    "trainer.progress=none eval.every_n_steps=0 eval.figures=never sample.every_n_steps=0 sample.max_new_tokens=1"
)
"""Nothing but training: one evaluation on little text and one checkpoint, both at the end and not timed."""
_numbers = itertools.count()


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of its batch."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    batch_size: int
    vocab_size: int = 65

    def __str__(self) -> str:
        return f"{self.n_layer}x{self.n_head}x{self.n_embd} T{self.block_size} B{self.batch_size}"

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.block_size * self.batch_size

    @property
    def overrides(self) -> list[str]:
        """The shape on microgpt's command line."""
        names = ("n_layer", "n_head", "n_embd", "block_size")
        return [*(f"model.{name}={getattr(self, name)}" for name in names), f"data.batch_size={self.batch_size}"]

    def flops(self, tie_weights: bool) -> int:
        """Floating-point operations of one step, counted as the MFU counts them."""
        pos = "learned" if tie_weights else "rope"
        config = GPTConfig(n_layer=self.n_layer, n_head=self.n_head, n_embd=self.n_embd, block_size=self.block_size,
                           pos=pos, mlp="gelu", tie_weights=tie_weights)  # fmt: skip
        with torch.device("meta"):
            return self.tokens * GPT(config, self.vocab_size).flops_per_token()

    def ids(self) -> np.ndarray:
        """A text for this shape: uniformly drawn tokens, each there at least once."""
        n = max(100_000, 20 * self.vocab_size, 300 * self.block_size)
        drawn = np.random.default_rng(0).integers(0, self.vocab_size, n)
        return np.concatenate([np.arange(self.vocab_size), drawn]).astype(np.uint16)

    def text(self, folder: Path) -> Path:
        """The same text as characters: a file with exactly `vocab_size` different ones."""
        path = folder / f"text-{self.vocab_size}-{self.block_size}.txt"
        if not path.exists():
            codes = self.ids().astype(np.uint32) + (32 if self.vocab_size <= 95 else 0x10000)
            path.write_text(codes.astype("<u4").tobytes().decode("utf-32-le"), encoding="utf-8")
        return path


@dataclass(frozen=True)
class Trained:
    """What a run of microgpt left: seconds per step by its own figures and by our clock, and its summary."""

    seconds_per_step: float
    stamped: float
    mfu: float
    summary: dict[str, Any]
    folder: Path


def ours(bench: Bench, shape: Shape, steps: int, *overrides: str, parts: str = NANOGPT, keep: bool = False) -> Trained:
    """Train `steps` steps by `microgpt.train` and read the speed from its metrics, start-up and ends excluded."""
    torch._dynamo.reset()  # what was compiled for another shape is no business of this one's
    if bench.device == "cuda":
        torch.cuda.empty_cache()
    folder = bench.folder / f"run{next(_numbers)}"
    words = [*QUIET.split(), *parts.split(), *shape.overrides, f"data.path={shape.text(bench.folder)}",
             f"trainer.accelerator={bench.device}", f"trainer.max_steps={steps}",
             f"trainer.log_every_n_steps={log_every(steps)}", f"hydra.run.dir={folder}", *overrides]  # fmt: skip
    with stamped() as stamps, silently():
        run = engine.train(words)
    assert run is not None
    rows = timed_rows(folder)
    counted = [float(row["perf/mfu"]) for row in rows[2:] or rows[1:]]
    begin = int(rows[1]["step"])
    by_clock = (stamps[steps - 1] - stamps[begin]) / (steps - 1 - begin) if len(stamps) == steps else float("nan")
    if not keep:
        shutil.rmtree(folder)
    return Trained(pace(rows), by_clock, sum(counted) / len(counted), run.summary, folder)


def timed_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv that say how far training was, and when."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["seconds"]]


def pace(rows: list[dict[str, str]]) -> float:
    """Seconds per step from the second row on: the first is a step that also starts and compiles."""
    first, last = rows[1], rows[-1]
    return (float(last["seconds"]) - float(first["seconds"])) / (int(last["step"]) - int(first["step"]))


@contextlib.contextmanager
def stamped() -> Iterator[list[float]]:
    """The times at which batches are asked for, one a step: a clock that the run knows nothing of."""
    stamps: list[float] = []
    batch = Windows.batch

    def watched(self: Windows, *args: Any, **kwargs: Any) -> Any:
        stamps.append(time.perf_counter())
        return batch(self, *args, **kwargs)

    Windows.batch = watched  # type: ignore[method-assign]
    try:
        yield stamps
    finally:
        Windows.batch = batch  # type: ignore[method-assign]


@contextlib.contextmanager
def silently() -> Iterator[None]:
    """Without a run's messages, and without the sample and the counts that it closes with."""
    words, engine.closing_words = engine.closing_words, lambda *_: None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        engine.closing_words = words


def log_every(steps: int) -> int:
    """Steps between two logged ones: the default of both contestants, or so few that a short run has several."""
    return 10 if steps >= 40 else max(1, steps // 4)


def enough_steps(bench: Bench, seconds_per_step: Callable[[int], float], seconds: float | None = None) -> int:
    """Steps that fill a turn, from a first short run, which also fills the caches of compilers."""
    if bench.quick and bench.args.seconds is None:
        return 4
    return max(4, min(1000, round((seconds or bench.seconds) / seconds_per_step(4) / 4) * 4))
