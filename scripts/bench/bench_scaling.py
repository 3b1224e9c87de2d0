"""How cost grows with the corpus, and whether `plan=true` foretells what a run takes.

    python scripts/bench/bench_scaling.py [--full] [--parts corpus plan] [--out FILE]

corpus  time per token from 1 MB to 1 GB of memory-mapped indices, and with --full 10 GB: a synthetic text, written
        and opened by the library's own cache of encoded texts, under TMPDIR. It must stay flat.
plan    what `microgpt-train plan=true` says of memory and of a step's time, against a whole run in its own process.
"""

import argparse
import contextlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import microgpt.engine.prepare as finding
from bench_contestants import NANOGPT, QUIET, Shape, enough_steps, log_every, ours, pace, timed_rows
from bench_machine import child, seconds_of
from bench_rig import Bench, alternate
from microgpt import CharTokenizer
from microgpt.data.cache import Cache, Ids, IdsEntry
from microgpt.data.corpus import Corpus
from microgpt.data.dataset import as_ids
from microgpt.data.encoded_text import EncodedText
from microgpt.data.windows import Windows

SIZES = (10**6, 10**7, 10**8, 10**9)
FULL = 10**10
PIECE = 10**7
CORPUS_SHAPE = Shape(2, 2, 64, 64, 32)
PLANNED = {
    "small": (Shape(4, 4, 128, 64, 64), ()),
    "wide": (Shape(6, 6, 384, 128, 32), ()),
    "wide, float32": (Shape(6, 6, 384, 128, 32), ("trainer.precision=32-true",)),
    "long, muon": (Shape(4, 4, 256, 512, 8), ("optim=muon",)),
    "micro-batches": (Shape(6, 6, 384, 128, 64), ("trainer.micro_batch_size=8",)),
}
CHILD = """
import json, sys, torch
from microgpt.engine.commands.train import main
code = main(sys.argv[1:])
on_gpu = torch.cuda.is_available() and torch.cuda.max_memory_allocated()
print(json.dumps({"code": code, "bytes": on_gpu or peak_memory()}))
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--full", action="store_true", help="10 GB of indices too")
    parser.add_argument("--parts", nargs="+", choices=("corpus", "plan"), default=["corpus", "plan"])


def synthetic(place: Path, size: int) -> np.ndarray:
    """So many random indices, kept and opened as the indices of a large text are: memory-mapped."""
    rng = np.random.default_rng(size)
    sizes = (min(PIECE, size - low) for low in range(0, size, PIECE))
    pieces = (Ids(rng.integers(0, 65, n, np.uint8), Counter[str](), n, n) for n in sizes)
    cache, kept = Cache(place), IdsEntry(f"synthetic-{size}", np.dtype(np.uint8))
    if not cache.put(kept, pieces):
        raise RuntimeError(f"{place} does not take {size:,} bytes: set TMPDIR to a larger disk")
    entry = cache.get(kept)
    assert entry is not None
    return entry.ids


@contextlib.contextmanager
def trained_on(ids: np.ndarray) -> Iterator[None]:
    """Let `microgpt.train` find these indices, whatever text it is given."""
    tokenizer = CharTokenizer([chr(32 + i) for i in range(65)])
    parts = {"train": ids[:-2000], "val": ids[-2000:], "test": ids[:0]}
    splits = {name: EncodedText(as_ids(part), tokenizer, Counter()) for name, part in parts.items()}
    corpus = Corpus("synthetic", "0" * 64, tokenizer, Counter(), splits)
    prepare, finding.prepare = finding.prepare, lambda *_: corpus
    try:
        yield
    finally:
        finding.prepare = prepare


def corpus(bench: Bench) -> None:
    """Time per token as the text grows."""
    sizes = SIZES[:2] if bench.quick else (*SIZES, FULL) if bench.args.full else SIZES
    texts = {size: synthetic(bench.folder, size) for size in sizes}

    def train(steps: int, size: int) -> float:
        with trained_on(texts[size]):
            return ours(bench, CORPUS_SHAPE, steps, "trainer.compile=false").seconds_per_step

    steps = enough_steps(bench, partial(train, size=sizes[0]))
    found = alternate({str(size): partial(train, steps, size) for size in sizes}, bench.rounds)
    rows = []
    for size in sizes:
        windows = Windows(texts[size], CORPUS_SHAPE.block_size, CORPUS_SHAPE.batch_size, seed=0, device=bench.device)
        numbers = iter(range(10**9))
        gather = seconds_of(lambda w=windows, n=numbers: w.batch(next(n)), bench.device, 4 if bench.quick else 500)  # type: ignore[misc]
        rows.append({"indices": f"{size:,}", "s/step": found[str(size)], "us/batch": 1e6 * gather,
                     f"times {sizes[0]:,}": found[str(size)].over(found[str(sizes[0])])})  # fmt: skip
    bench.table(f"corpus, {CORPUS_SHAPE}", rows)
    flat = max(found[str(size)].over(found[str(sizes[0])]) for size in sizes)
    bench.claim(f"time per token from {sizes[0]:,} to {sizes[-1]:,} indices, times the smallest's", flat, at_most=1.1)


def plan(bench: Bench) -> None:
    """What the plan says, and what then is measured."""
    rows = []
    for name, (planned, knobs) in list(PLANNED.items())[: 1 if bench.quick else None]:
        shape = Shape(1, 2, 16, 16, 4) if bench.quick else planned
        steps = 8 if bench.quick else 12
        folder = bench.folder / f"plan-{len(rows)}"
        words = [*QUIET.split(), *NANOGPT.split(), *shape.overrides, f"data.path={shape.text(bench.folder)}",
                 f"trainer.max_steps={steps}", f"trainer.log_every_n_steps={log_every(steps)}", *knobs,
                 f"trainer.accelerator={bench.device}", "trainer.compile=false", f"hydra.run.dir={folder}"]  # fmt: skip
        command = [sys.executable, "-m", "microgpt.engine.commands.train", "plan=true", *words]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        run = child(CHILD, *words)
        assert run["code"] == 0
        row: dict[str, Any] = {"run": f"{name}, {shape}"}
        add(row, "MiB", number(r"^memory\s+([\d.,]+) MiB", said), run["bytes"] / 2**20)
        step = number(r"([\d.,]+) ms a step", said) or 1e3 * (number(r"([\d.,]+) s a step", said) or 0.0)
        add(row, "ms/step", step, 1e3 * pace(timed_rows(folder)))
        rows.append(row)
    bench.table("plan=true against a run", rows)
    for what in ("MiB", "ms/step"):
        ratios = [row[f"{what}, ratio"] for row in rows if f"{what}, ratio" in row]
        if ratios:
            worst = max(abs(ratio - 1) for ratio in ratios)
            bench.claim(f"plan=true, largest error in {what}", worst, at_most=0.15)


def add(row: dict[str, Any], what: str, planned: float | None, measured: float) -> None:
    """Add a figure of the plan, when it has one, and what was measured."""
    if planned is not None:
        row[f"{what}, planned"] = planned
    row[f"{what}, measured"] = measured
    if planned:
        row[f"{what}, ratio"] = measured / planned


def number(pattern: str, text: str) -> float | None:
    """The number that a pattern finds in a text."""
    found = re.search(pattern, text, re.MULTILINE)
    return float(found[1].replace(",", "")) if found else None


def main(argv: Sequence[str] | None = None) -> Bench:
    """Run the parts."""
    parts: dict[str, Callable[[Bench], None]] = {"corpus": corpus, "plan": plan}
    with Bench("scaling", __doc__, argv, arguments) as bench:
        for part in bench.args.parts:
            parts[part](bench)
    return bench


if __name__ == "__main__":
    main()
