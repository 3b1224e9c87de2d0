"""The items of gpu_day.py: what is checked and what is measured, in order of worth.

Each is a function of a `Bench` that returns its figures; it imports what it needs in its own body, so that an item
that cannot even be imported costs itself alone.
"""

import csv
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """One thing to check or to measure.

    Attributes:
        run: does it, and returns its figures; `ok` among them says whether a check passed.
        seconds: its time at most.
        goals: figure -> (bound, whether the figure must be at least the bound rather than at most).
    """

    name: str
    run: Callable[[Any], Figures]
    seconds: float
    goals: dict[str, tuple[float, bool]]


ITEMS: dict[str, Item] = {}


def item(seconds: float, **goals: tuple[float, bool]) -> Callable[[Callable[[Any], Figures]], Callable[[Any], Figures]]:
    """Register a function as an item, in the order of the file."""

    def add(run: Callable[[Any], Figures]) -> Callable[[Any], Figures]:
        ITEMS[run.__name__] = Item(run.__name__, run, seconds, goals)
        return run

    return add


def least(value: float) -> tuple[float, bool]:
    """A goal: at least so much."""
    return value, True


def most(value: float) -> tuple[float, bool]:
    """A goal: at most so much."""
    return value, False


# The checks, several at a time: what is measured on a GPU that computes wrong is worth nothing.


@item(90)
def cuda_tests(bench: Any) -> Figures:
    """The tests that need a CUDA device."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "cuda", str(ROOT / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1]
    nothing_ran = done.returncode == 5 or " passed" not in last
    return {"pytest": last, "ok": done.returncode in (0, 5) and (bench.device == "cpu" or not nothing_ran)}


@item(60, worst=most(2e-2))
def attention(bench: Any) -> Figures:
    """Fused attention beside the written-out one, with and without a bias: output and gradients."""
    import torch

    from microgpt.model.attention import reference_output
    from microgpt.model.kernels.attention import sdpa

    dtype = torch.bfloat16 if bench.device == "cuda" else torch.float32
    errors: Figures = {}
    for name in ("causal", "with a bias"):
        torch.manual_seed(0)
        q, k, v = (torch.randn(2, 4, 64, 32, device=bench.device, dtype=dtype, requires_grad=True) for _ in range(3))
        future = torch.full((64, 64), float("-inf"), device=bench.device).triu(1)
        mask = future if name == "causal" else torch.randn(4, 64, 64, device=bench.device) + future
        found = []
        for attend in (reference_output, sdpa):
            y = attend(q, k, v, None if name == "causal" and attend is sdpa else mask.to(dtype), 0.0)
            found.append([y, *torch.autograd.grad(y.float().square().sum(), (q, k, v))])
        with torch.no_grad():
            errors[name] = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*found, strict=True))
    return {**errors, "worst": max(errors.values())}


@item(100, worst=most(2e-3))
def compiled_equals_eager(bench: Any) -> Figures:
    """The losses of one run, eager, compiled and as CUDA graphs, in float32."""
    ways = {"compiled": ("trainer.compile=true",)}
    if bench.device == "cuda":
        ways["CUDA graphs"] = ("trainer.compile=true", "trainer.compile_mode=reduce-overhead")
    eager = losses(bench, "trainer.compile=false", "trainer.precision=32-true")
    found = {name: apart(eager, losses(bench, "trainer.precision=32-true", *knobs)) for name, knobs in ways.items()}
    return {**found, "worst": max(found.values())}


@item(100, worst=most(0.1))
def precisions(bench: Any) -> Figures:
    """Training in bfloat16 and float16 (with a loss scaler) beside float32: the last losses."""
    names = ("bf16-mixed", "bf16-true", "16-mixed") if bench.device == "cuda" else ("bf16-mixed",)
    exact = losses(bench, "trainer.compile=false", "trainer.precision=32-true")
    found = {n: apart(exact, losses(bench, "trainer.compile=false", f"trainer.precision={n}")) for n in names}
    return {**found, "worst": max(found.values())}


@item(60, worst=most(1e-3))
def fsdp_of_one(bench: Any) -> Figures:
    """A sharded run on one device, where a run alone would not be sharded, beside a plain one."""
    from microgpt.engine.fit import trainer
    from microgpt.engine.fit.sharded import ShardedStrategy

    plain = losses(bench, "trainer.compile=false", "trainer.precision=32-true")
    made: list[ShardedStrategy] = []
    trainer.build_strategy = lambda knob, world_size: made.append(ShardedStrategy(world_size)) or made[0]
    sharded = losses(bench, "trainer.compile=false", "trainer.precision=32-true", "trainer.strategy=fsdp")
    return {"worst": apart(plain, sharded) if made else float("inf")}


@item(60, text_equal=least(1.0))
def generation_is_right(bench: Any) -> Figures:
    """Greedy tokens, compiled as a recorded step, beside eager ones, in float32."""
    import torch

    from bench_generate import ours

    model = ours(bench, torch.float32)
    prompts = torch.arange(8, device=bench.device).view(2, 4)
    made = [model.generate(prompts, 24, do_sample=False, compile=compiled) for compiled in (False, True)]
    return {"text_equal": float((made[0] == made[1]).float().mean())}


@item(240)
def compile_shakespeare(bench: Any) -> Figures:
    """Compile what is measured below, so that it then comes from torch's cache."""
    from bench_train import PUBLISHED, TINY

    return {"ok": bool(fastest(bench, TINY if bench.quick else PUBLISHED["gpu"], 4))}


@item(240)
def compile_gpt2(bench: Any) -> Figures:
    """The same for GPT-2."""
    from bench_train import GPT2, TINY

    return {"ok": bool(fastest(bench, TINY if bench.quick else GPT2, 4))}


CHECKS = tuple(ITEMS)
"""Those before what is measured; they run side by side and know no limits of the machine."""


# What is measured, one thing at a time, most worth first.


@item(30)
def machine(bench: Any) -> Figures:
    """The device, and its limits."""
    return {**bench.machine, **bench.limits, "ok": True}


@item(90, tokens_per_second=least(5e6))
def shakespeare_speed(bench: Any) -> Figures:
    """nanoGPT's Shakespeare configuration (10.65M weights, T 256, B 64) with its parts."""
    from bench_train import PUBLISHED, TINY

    return fastest(bench, TINY if bench.quick else PUBLISHED["gpu"], 4 if bench.quick else 1000)


@item(120, seconds_to_score=most(8))
def shakespeare_score(bench: Any) -> Figures:
    """Seconds of training to 1.4697 nats on tiny Shakespeare's validation split, by the recipe for it."""
    if bench.text is None and not bench.quick:
        return {"note": "needs --text"}
    words = [f"data.path={bench.text}"] if bench.text else ["data=manual"]
    words += ["eval.every_n_steps=50"] if not bench.quick else ["eval.every_n_steps=2", "trainer.max_steps=4"]
    if bench.quick:
        words += ["model.n_embd=24", "model.block_size=16", "data.batch_size=4"]
    ways = {"eager": ["trainer.compile=false"]}
    if bench.device == "cuda":
        ways["CUDA graphs"] = ["trainer.compile=true", "trainer.compile_mode=reduce-overhead"]
    found: Figures = {}
    for name, knobs in ways.items():
        rows = trained(bench, "experiment=speedrun/1.47", *words, *knobs, settings=())
        scored = {int(row["step"]): float(row["val/loss"]) for row in rows if row["val/loss"]}
        times = {int(row["step"]): float(row["seconds"]) for row in rows if row["seconds"]}
        reached = [times[step] for step, loss in scored.items() if loss <= 1.4697 and step in times]
        found |= {f"{name} val/loss": min(scored.values()), f"{name} seconds": max(times.values()),
                  f"{name} seconds to score": min(reached, default=float("inf"))}  # fmt: skip
    return found | {"seconds_to_score": min(v for n, v in found.items() if n.endswith("to score"))}


@item(180, tokens_per_second=least(5e5), times_nanogpt=least(1.3))
def gpt2_speed(bench: Any) -> Figures:
    """GPT-2 124M at T 1024 in tokens/s, as a share of the peak and beside nanoGPT's own train.py, compiled."""
    from bench_nanogpt import nanogpt
    from bench_train import GPT2, TINY

    shape, steps = (TINY, 4) if bench.quick else (GPT2, 80)
    found = fastest(bench, shape, steps)
    if bench.args.nanogpt is None:
        return found
    theirs = shape.tokens / nanogpt(bench, shape, steps, compiled=not bench.quick)
    same = {f"{name}, times nanoGPT": value / theirs for name, value in found.items() if name.startswith("bf16")}
    return {**found, **same, "nanoGPT tokens/s": theirs, "times_nanogpt": found["tokens_per_second"] / theirs}


@item(120, one_text=least(5e3), many=least(2e6))
def generation_speed(bench: Any) -> Figures:
    """Tokens/s of one text, and of as many as fit, of the 10.6M model in bfloat16."""
    import torch

    from bench_generate import ours, run_generate, timed

    count = 12 if bench.quick else 240
    model = ours(bench, torch.bfloat16 if bench.device == "cuda" else torch.float32)
    ways = {"compiled": run_generate(model, True), "plain": run_generate(model, False)}
    if bench.device == "cpu":
        del ways["compiled"]
    found: Figures = {}
    for name, make in ways.items():
        timed(bench, make, 1, 4)
        found[f"one text {name}"] = count / min(timed(bench, make, 1, count) for _ in range(3))
        for batch in (2, 4) if bench.quick else (256, 1024, 4096, 8192):
            try:
                timed(bench, make, batch, 4)
                found[f"{batch} texts {name}"] = batch * count / timed(bench, make, batch, count)
            except torch.OutOfMemoryError:
                break
    one, many = ([v for n, v in found.items() if n.startswith("one") is single] for single in (True, False))
    return found | {"one_text": max(one), "many": max(many)}


@item(40, waits=most(0.2))
def synchronisations(bench: Any) -> Figures:
    """How often a training step makes the host wait for the device."""
    if bench.device == "cpu":
        return {"waits": 0.0, "note": "needs a GPU"}
    import torch

    def places(steps: int) -> Counter[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            losses(bench, "trainer.compile=false", f"trainer.max_steps={steps}", "trainer.log_every_n_steps=30")
        return Counter(f"{w.filename}:{w.lineno}" for w in caught if "synchroniz" in str(w.message))

    torch.cuda.set_sync_debug_mode("warn")
    try:
        more = places(90)
        more.subtract(places(30))  # the start and the end
    finally:
        torch.cuda.set_sync_debug_mode("default")
    per_step = {place: n / 60 for place, n in more.items() if n}
    return {"waits": sum(per_step.values()), "places": per_step}


SMALL = ("model=gpt-nano", "data=manual", "data.batch_size=16", "optim=adamw", "trainer.max_steps=30",
         "trainer.log_every_n_steps=5", "eval.every_n_steps=0", "eval.figures=never", "sample.every_n_steps=0",
         "sample.max_new_tokens=4", "trainer.progress=none")  # fmt: skip
"""A run of seconds."""


def trained(bench: Any, *words: str, settings: Sequence[str] = SMALL) -> list[dict[str, str]]:
    """Train, and return the rows of metrics.csv."""
    from bench_contestants import silently
    from microgpt import train

    folder = Path(tempfile.mkdtemp(dir=bench.folder)) / "run"
    short = ["trainer.max_steps=6", "trainer.log_every_n_steps=2"] if bench.quick else []
    with silently():
        train([*settings, *short, f"trainer.accelerator={bench.device}", "trainer.progress=none", *words,
               f"hydra.run.dir={folder}"])  # fmt: skip
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def losses(bench: Any, *words: str) -> list[float]:
    """The training losses of a small run."""
    return [float(row["train/loss"]) for row in trained(bench, *words) if row["train/loss"]]


def apart(a: Sequence[float], b: Sequence[float]) -> float:
    """The largest difference of two curves; infinite if one is shorter or has a NaN."""
    gaps = [abs(x - y) for x, y in zip(a, b, strict=False)]
    return max(gaps) if len(a) == len(b) and gaps and all(gap == gap for gap in gaps) else float("inf")


def fastest(bench: Any, shape: Any, steps: int) -> Figures:
    """Tokens/s of a shape, on a GPU compiled and as CUDA graphs; the best as a share of the peak, if that is known."""
    from bench_contestants import ours

    ways = {"32-true": ["trainer.precision=32-true", "trainer.compile=false"]}
    if bench.device == "cuda" and not bench.quick:
        graphs = ["trainer.compile=true", "trainer.compile_mode=reduce-overhead"]
        ways = {name: [f"trainer.precision={name}", *graphs] for name in ("bf16-mixed", "bf16-true")}
        if bench.limits:
            ways["bf16-mixed without CUDA graphs"] = ["trainer.precision=bf16-mixed", "trainer.compile=true"]
    found: Figures = {}
    for name, words in ways.items():
        run = ours(bench, shape, steps, *words)
        found[f"{name} tokens/s"] = shape.tokens / run.seconds_per_step
    best = max(found.values())
    if bench.limits:
        found["share of the peak"] = shape.flops(True) / shape.tokens * best / bench.limits["best FLOP/s"]
    return found | {"tokens_per_second": best}
