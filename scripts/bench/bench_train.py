"""Training speed: seconds per step, tokens/s and share of the matrix-product peak, against a course's GPT and nanoGPT.

    python scripts/bench/bench_train.py [--nanogpt DIR] [--parts reference cpu gpu grid] [--device cuda] [--out FILE]

reference  6 layers x 6 heads x 384, T 128, B 128, RMSNorm, RoPE: microgpt in every precision, eager and compiled,
           against bench_naive.py.
cpu, gpu   nanoGPT's two published Shakespeare shapes without dropout, against its train.py.
grid       12 shapes from tiny to 768 wide, in float32 and in bf16, against its train.py.
gpt2       GPT-2 124M, T 1024, against its train.py; for a GPU, and run only when named.

Ours is `microgpt.train`, read from its metrics.csv; nanoGPT's is its train.py, read from the times of its lines; both
from the second logged line on, so that neither start-up nor compiling counts. The figures of a run's own metrics and
TensorBoard are checked against an independent clock.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch

import bench_naive
from bench_contestants import NANOGPT, REFERENCE, Shape, enough_steps, ours
from bench_machine import formats
from bench_nanogpt import nanogpt, same_maths
from bench_rig import Bench, Spread, alternate

REFERENCE_SHAPE = Shape(6, 6, 384, 128, 128)
PUBLISHED = {"cpu": Shape(4, 4, 128, 64, 12), "gpu": Shape(6, 6, 384, 256, 64)}
GPT2 = Shape(12, 12, 768, 1024, 16, 50304)
GRID = (
    Shape(1, 1, 32, 32, 8), Shape(2, 2, 64, 32, 4), Shape(2, 2, 64, 64, 64), Shape(4, 4, 128, 64, 12),
    Shape(4, 4, 128, 64, 64), Shape(4, 4, 128, 256, 8), Shape(4, 4, 256, 128, 32), Shape(6, 6, 384, 32, 64),
    Shape(6, 6, 384, 128, 32), Shape(6, 6, 384, 512, 4), Shape(8, 8, 512, 128, 8), Shape(12, 12, 768, 64, 4),
)  # fmt: skip
TINY = Shape(1, 2, 16, 16, 4)
GOALS = {"cpu": 2.5, "gpu": 4.0, "gpt2": 1.3}

Run = Callable[[int], float]
"""Trains so many steps and returns the seconds of one."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parts = ("reference", "cpu", "gpu", "grid", "gpt2")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts[:4])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="run compiled contestants too")
    parser.add_argument("--shapes", type=int, metavar="N", help="the first N of the grid")
    parser.add_argument("--precisions", nargs="+", help="default: those that the machine does not emulate")


WAYS = {
    "": ("trainer.compile=false",),
    " compiled": ("trainer.compile=true",),
    " compiled, CUDA graphs": ("trainer.compile=true", "trainer.compile_mode=reduce-overhead"),
}
"""How ours can run, by the knobs that say so."""


def microgpt(bench: Bench, shape: Shape, parts: str, precision: str, way: str = "") -> Run:
    """Ours, as a contestant."""
    knobs = [f"trainer.precision={precision}", *WAYS[way]]
    if precision == "32-true" and bench.device == "cuda":
        knobs.append("trainer.float32_matmul_precision=high")  # TF32, as nanoGPT has it
    return lambda steps: ours(bench, shape, steps, *knobs, parts=parts).seconds_per_step


def every_way(bench: Bench, shape: Shape, parts: str, precisions: Iterable[str]) -> dict[str, Run]:
    """Ours in each precision, eager and, unless that is not wanted, compiled."""
    ways = list(WAYS)[: 1 if not bench.args.compile else 3 if bench.device == "cuda" else 2]
    return {f"microgpt {p}{way}": microgpt(bench, shape, parts, p, way) for p in precisions for way in ways}


def race(bench: Bench, contestants: dict[str, Run], seconds: float | None = None) -> dict[str, Spread]:
    """Seconds per step of each contestant; each one's turns are as many steps as fill the time."""
    turns = {name: partial(run, enough_steps(bench, run, seconds)) for name, run in contestants.items()}
    return alternate(turns, bench.rounds)


def rows(bench: Bench, shape: Shape, found: dict[str, Spread], tied: bool, rival: str | None) -> list[dict[str, Any]]:
    """The table of a race."""
    flops, peak = shape.flops(tied), bench.limits["best FLOP/s"]
    return [
        {
            "contestant": name,
            "s/step": seconds,
            "tokens/s": shape.tokens / seconds.median,
            "TFLOP/s": flops / seconds.median / 1e12,
            "of the peak": f"{flops / seconds.median / peak:.1%}",
            "of fp32 peak": f"{flops / seconds.median / bench.limits['fp32 FLOP/s']:.1%}",
            **({f"times {rival}": found[rival].over(seconds)} if rival in found else {}),
        }
        for name, seconds in found.items()
    ]


def ceiling(bench: Bench, shape: Shape, found: dict[str, Spread], tied: bool, rival: str) -> None:
    """How many times as fast as a rival a step could be at most, as it takes the arithmetic that it takes."""
    least = {name: shape.flops(tied) / bench.limits[f"{name} FLOP/s"] for name in formats(bench.device)}
    row = {f"at the whole {name} peak": found[rival].median / seconds for name, seconds in least.items()}
    bench.table(f"the most that there is, in times {rival}", [{"shape": str(shape), **row}])


def best(found: dict[str, Spread], precision: str = "") -> Spread:
    """Our fastest way, of those in `precision`."""
    return min((s for n, s in found.items() if n.startswith(f"microgpt {precision}")), key=lambda s: s.median)


def reference(bench: Bench) -> None:
    """Against a course's implementation."""
    shape = TINY if bench.quick else REFERENCE_SHAPE

    def naive(steps: int) -> float:
        sizes = (shape.n_layer, shape.n_head, shape.n_embd, shape.block_size, shape.vocab_size)
        ids = torch.from_numpy(shape.ids().astype("int64"))
        model = bench_naive.NaiveGPT(*sizes)
        return bench_naive.train(model, ids, shape.block_size, shape.batch_size, steps, bench.device)

    ways = every_way(bench, shape, REFERENCE, bench.args.precisions)
    found = race(bench, {"naive": naive, **ways})
    bench.table(f"reference {shape}", rows(bench, shape, found, False, "naive"))
    ceiling(bench, shape, found, False, "naive")
    bench.claim("reference shape, times naive", found["naive"].over(best(found)), at_least=10)
    share = shape.flops(False) / best(found).median / bench.limits["best FLOP/s"]
    bench.claim("reference shape, share of the peak", share, at_least=0.5)
    agreement(bench, shape)


def agreement(bench: Bench, shape: Shape) -> None:
    """Hold perf/* of TensorBoard and metrics.csv against our own clock, in one run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    precision = bench.args.precisions[0]
    steps = max(8, enough_steps(bench, microgpt(bench, shape, REFERENCE, precision)))
    knobs = (f"trainer.precision={precision}", "trainer.compile=false")
    run = ours(bench, shape, steps, *knobs, parts=REFERENCE, keep=True)
    events = EventAccumulator(str(run.folder)).Reload()
    speeds, mfus = events.Scalars("perf/tokens_per_second"), events.Scalars("perf/mfu")
    timed = [(b.step - a.step, b.value) for a, b in pairwise(speeds[1:])]  # from the second row on, as ours are
    tokens = {
        "our clock": shape.tokens / run.stamped,
        "metrics.csv": shape.tokens / run.seconds_per_step,
        "TensorBoard": sum(n for n, _ in timed) / sum(n / speed for n, speed in timed),
    }
    bench.table("perf/* against a clock", [{"source": name, "tokens/s": speed} for name, speed in tokens.items()]
                + [{"source": "perf/mfu", "share": sum(mfu.value for mfu in mfus[2:]) / len(mfus[2:])}])  # fmt: skip
    bench.claim("perf/tokens_per_second over our clock", tokens["TensorBoard"] / tokens["our clock"], 0.95, 1.05)


def rivals(bench: Bench, shape: Shape, ways: Sequence[bool]) -> dict[str, Run]:
    """nanoGPT, eager and compiled as `ways` says: in its own precision, and on a GPU in float32 too."""
    if bench.args.nanogpt is None:
        return {}
    dtypes = {"": None, " float32": "float32"} if bench.device == "cuda" else {"": None}
    return {
        f"nanoGPT{name}{' compiled' * compiled}": partial(nanogpt, bench, shape, compiled=compiled, dtype=dtype)
        for name, dtype in dtypes.items()
        for compiled in ways
    }


def times_faster(bench: Bench, found: dict[str, Spread], in_float32: bool) -> float:
    """Our fastest way over nanoGPT's fastest, both in float32 or both in any precision."""
    theirs = [n for n in found if n.startswith("nanoGPT") and (bench.device == "cpu" or ("float32" in n) == in_float32)]
    rival = min((found[name] for name in theirs), key=lambda s: s.median)
    return rival.over(best(found, "32-true" if in_float32 else ""))


def against_nanogpt(bench: Bench, name: str, shape: Shape) -> None:
    """One of nanoGPT's own shapes, on both sides with the same maths."""
    others = rivals(bench, shape, (False, True) if bench.args.compile else (False,))
    found = race(bench, others | every_way(bench, shape, NANOGPT, bench.args.precisions))
    bench.table(f"nanoGPT's {name} shape {shape}", rows(bench, shape, found, True, "nanoGPT"))
    what = f"nanoGPT's {name} shape"
    if others:
        ceiling(bench, shape, found, True, "nanoGPT")
        bench.claim(f"{what}, difference in loss with the same weights", same_maths(bench, shape), at_most=1e-4)
        # As its author runs it: eager on a CPU, compiled on a GPU.
        own = found["nanoGPT compiled" if bench.device == "cuda" and bench.args.compile else "nanoGPT"]
        bench.claim(f"{what}, times nanoGPT", own.over(best(found)), at_least=GOALS[name])
        bench.claim(f"{what} in float32, times nanoGPT's fastest", times_faster(bench, found, True), at_least=1)
    if name == "gpt2":
        bench.claim("GPT-2 124M, tokens/s", shape.tokens / best(found).median, at_least=500_000)


def grid(bench: Bench) -> None:
    """Never slower than nanoGPT as its author runs it, at any shape, and how much of the peak each reaches."""
    table = []
    compiled = bench.device == "cuda" and bench.args.compile
    for shape in GRID[: 2 if bench.quick else bench.args.shapes]:
        others = rivals(bench, shape, (compiled,))
        ways = every_way(bench, shape, NANOGPT, dict.fromkeys(("32-true", bench.args.precisions[-1])))
        found = race(bench, others | ways, bench.seconds / 2)
        row: dict[str, Any] = {"shape": str(shape), **{name: s.median for name, s in found.items()}}
        row["of the peak"] = shape.flops(True) / best(found).median / bench.limits["best FLOP/s"]
        if others:
            row["times, fp32"] = times_faster(bench, found, True)
            row["times, best"] = times_faster(bench, found, False)
        table.append(row)
    bench.table("grid, s/step", table)
    for key in ("times, fp32", "times, best"):
        if key in table[0]:
            bench.claim(f"slowest of {len(table)} shapes, {key} nanoGPT", min(r[key] for r in table), at_least=1)
    for width, goal in ((128, 0.6), (384, 0.75)):
        shares = [row["of the peak"] for shape, row in zip(GRID, table, strict=False) if shape.n_embd >= width]
        if shares:
            bench.claim(f"least share of the peak from {width} wide on", min(shares), at_least=goal)


def main(argv: Sequence[str] | None = None) -> Bench:
    """Run the parts."""
    with Bench("train", __doc__, argv, arguments) as bench:
        bench.args.compile = not bench.quick if bench.args.compile is None else bench.args.compile
        for part in bench.args.parts:
            if part in ("reference", "grid"):
                {"reference": reference, "grid": grid}[part](bench)
            else:
                against_nanogpt(bench, part, TINY if bench.quick else {**PUBLISHED, "gpt2": GPT2}[part])
    return bench


if __name__ == "__main__":
    main()
