"""How the cost of a token grows with the context, width, depth, vocabulary and batch, beside nanoGPT.

    python scripts/bench/bench_growth.py [--nanogpt DIR] [--series context width ...] [--out FILE]
    python scripts/figures/growth.py FILE... [--out docs/figures/growth.png]

Each series changes one size of a model of 4 layers x 4 heads x 128, T 128, B 8, with nanoGPT's parts; the context at
4,096 tokens a step. Ours trains eagerly in float32 and in the fastest precision; nanoGPT by its train.py, in float32 on
a CPU. From one size to the next the time of a token must not grow faster than its floating-point operations.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from bench_contestants import NANOGPT, Shape, enough_steps
from bench_rig import Bench, Spread, alternate
from bench_train import Run, microgpt, rivals

SERIES = {
    "context": [Shape(4, 4, 128, T, 4096 // T) for T in (64, 256, 1024, 4096)],
    "width": [Shape(4, 4, width, 128, 8) for width in (64, 128, 256, 512)],
    "depth": [Shape(depth, 4, 128, 128, 8) for depth in (1, 2, 4, 8)],
    "vocabulary": [Shape(4, 4, 128, 128, 8, size) for size in (64, 1024, 8192, 50304)],
    "batch": [Shape(4, 4, 128, 128, size) for size in (1, 4, 16, 64)],
}
BEND = 1.15
"""How many times as fast as the arithmetic of a token its time may grow from one size to the next."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--series", nargs="+", choices=SERIES, default=tuple(SERIES))
    parser.add_argument("--precisions", nargs="+", help="default: those that the machine does not emulate")


def size(name: str, shape: Shape) -> int:
    """The number that a series changes."""
    fields = {"context": "block_size", "width": "n_embd", "depth": "n_layer", "vocabulary": "vocab_size"}
    return int(getattr(shape, fields.get(name, "batch_size")))


def growth(bench: Bench, name: str, shapes: Sequence[Shape]) -> None:
    """One series."""
    precisions = dict.fromkeys(("32-true", bench.args.precisions[-1]))
    rows: list[dict[str, Any]] = []
    for shape in shapes:
        ways = {f"microgpt {p}": microgpt(bench, shape, NANOGPT, p) for p in precisions}
        found = race(bench, {**ways, **rivals(bench, shape, (False,))})
        flops = shape.flops(tie_weights=True) / shape.tokens
        for contestant, seconds in found.items():
            per_token = Spread([1e6 * s / shape.tokens for s in seconds.values])
            row = {name: size(name, shape), "contestant": contestant, "us/token": per_token, "FLOPs/token": flops}
            row["of the peak"] = flops / per_token.median * 1e6 / bench.limits["best FLOP/s"]
            rows.append(row | ({"times nanoGPT": found["nanoGPT"].over(seconds)} if "nanoGPT" in found else {}))
    bench.table(f"growth of {name}", rows)
    for contestant in (f"microgpt {p}" for p in precisions):
        points = [(r["FLOPs/token"], r["us/token"].median) for r in rows if r["contestant"] == contestant]
        worst = max(t2 / t1 / (f2 / f1) for (f1, t1), (f2, t2) in pairwise(points))
        bench.claim(f"{contestant}, {name}: time over arithmetic, worst of two neighbours", worst, at_most=BEND)


def race(bench: Bench, ways: dict[str, Run]) -> dict[str, Spread]:
    """Seconds per step of each."""
    turns = {name: partial(run, enough_steps(bench, run)) for name, run in ways.items()}
    return alternate(turns, bench.rounds)


def main(argv: Sequence[str] | None = None) -> Bench:
    """Each series."""
    with Bench("growth", __doc__, argv, arguments) as bench:
        for name in bench.args.series[: 1 if bench.quick else None]:
            shapes = [Shape(1, 2, 16, T, 4) for T in (16, 32)] if bench.quick else SERIES[name]
            growth(bench, name, shapes)
    return bench


if __name__ == "__main__":
    main()
