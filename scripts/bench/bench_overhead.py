"""What the framework costs: Lightning and our callbacks over a bare loop, and the share that reliability takes.

    python scripts/bench/bench_overhead.py [--out FILE]

The bare loop has the same model, optimizer, schedule, batches and clipping, and nothing else, at a model so small that
the framework shows. Reliability is timed inside a whole default run, where it happens: all that saving does after a
step (agreeing on signals, checking the weights, writing, flushing to disk, pruning).
"""

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch

import microgpt.engine.train as engine
from bench_contestants import NANOGPT, QUIET, Shape, enough_steps, log_every, ours, silently, stamped
from bench_machine import synchronize
from bench_rig import Bench, Spread, alternate
from microgpt import GPT
from microgpt.data.corpus import prepare
from microgpt.data.windows import Windows
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.fit.callbacks.save import Save
from microgpt.engine.machine.device import autocast_dtype, resolve_precision
from microgpt.engine.machine.memory import keep_freed_memory

SHAPE = Shape(2, 2, 64, 32, 8)


@keep_freed_memory()
def bare(bench: Bench, precision: str, steps: int) -> None:
    """A loop over the same parts."""
    words = [*QUIET.split(), *NANOGPT.split(), *SHAPE.overrides, f"data.path={SHAPE.text(bench.folder)}"]
    config = compose_run([*words, f"trainer.precision={precision}"]).config
    corpus = prepare(config.data)
    model = GPT(config.model, corpus.tokenizer.vocab_size).to(bench.device)
    if precision.endswith("true"):
        model.to(autocast_dtype(precision))
    optimizer = config.optim.build(model.named_parameters())
    peaks = [group["lr"] for group in optimizer.param_groups]
    windows = Windows(corpus.train, config.model.block_size, config.data.batch_size, config.seed, device=bench.device)
    for step in range(steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * config.optim.lr_factor(step, steps)
        x, y = windows.batch(step)
        with torch.autocast(bench.device, autocast_dtype(precision), enabled=precision.endswith("mixed")):
            loss = model.loss(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.trainer.gradient_clip_val, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
    synchronize(bench.device)


def typical(stamps: Sequence[float], period: int) -> float:
    """Seconds per step without what else the machine did: the 20th percentile of the steps at each place between two
    logged ones, and the mean of these."""
    steps = [after - before for before, after in pairwise(stamps)][period:]
    places = [sorted(steps[place::period]) for place in range(period)]
    return statistics.mean(place[len(place) // 5] for place in places)


def framework(bench: Bench) -> None:
    """Milliseconds per step over the bare loop."""
    rows = []
    for precision in dict.fromkeys(("32-true", resolve_precision("auto", bench.device))):
        knobs = (f"trainer.precision={precision}", "trainer.compile=false")

        def whole(steps: int, knobs: Sequence[str] = knobs) -> float:
            with stamped() as stamps:
                ours(bench, SHAPE, steps, *knobs)
            return typical(stamps, log_every(steps))

        def parts(steps: int, precision: str = precision) -> float:
            with stamped() as stamps:
                bare(bench, precision, steps)
            return typical(stamps, log_every(steps))

        steps = enough_steps(bench, whole)
        found = alternate({"microgpt": partial(whole, steps), "bare loop": partial(parts, steps)}, bench.rounds)
        pairs = zip(found["microgpt"].values, found["bare loop"].values, strict=True)
        rows.append({"precision": precision, **{f"{name}, ms/step": 1e3 * s.median for name, s in found.items()},
                     "overhead, ms/step": Spread([1e3 * (mine - other) for mine, other in pairs])})  # fmt: skip
    bench.table(f"framework at {SHAPE}", rows)
    bench.claim("overhead per step, ms", max(row["overhead, ms/step"].median for row in rows), at_most=0.6)


def reliability(bench: Bench) -> None:
    """The share of a default run that goes into checkpoints and signals."""
    folder = bench.folder / "default"
    words = [f"hydra.run.dir={folder}", f"trainer.accelerator={bench.device}", "trainer.progress=none"]
    if bench.quick:
        words += ["trainer.max_steps=4", f"data.path={SHAPE.text(bench.folder)}", *SHAPE.overrides]
        words += ["sample.max_new_tokens=1", "eval.figures=never", "trainer.compile=false"]
    with timed_saving() as spent, silently():
        run = engine.train(words)
    assert run is not None
    total = run.summary["train_seconds"] + sum(spent)
    share = sum(spent) / total
    bench.table("reliability in a default run", [
        {"steps": run.summary["step"], "training, s": run.summary["train_seconds"], "saving and signals, s": sum(spent),
         "share": f"{share:.2%}"},
    ])  # fmt: skip
    bench.claim("share of reliability in a default run", share, at_most=0.01)


@contextlib.contextmanager
def timed_saving() -> Iterator[list[float]]:
    """The seconds of each call of what saves."""
    spent: list[float] = []
    step_end = Save.on_step_end

    def watched(self: Save, *args: Any) -> None:
        start = time.perf_counter()
        step_end(self, *args)
        spent.append(time.perf_counter() - start)

    Save.on_step_end = watched  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        Save.on_step_end = step_end  # type: ignore[method-assign]


def main(argv: Sequence[str] | None = None) -> Bench:
    """Both parts."""
    with Bench("overhead", __doc__, argv) as bench:
        framework(bench)
        reliability(bench)
    return bench


if __name__ == "__main__":
    main()
