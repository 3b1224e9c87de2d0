"""Time to quality: whole processes, every import included, until a model stands in its folder, and how good it is.

    python scripts/bench/bench_speed.py [--seeds 5] [--only NAME ...] [--nanogpt DIR] [--out FILE] [overrides ...]

Runs every experiment under conf/experiment/speedrun/ with several seeds, and nanoGPT's published configuration for
the device by its own train.py. Scores are on the whole validation split under the protocol `blocks`: ours by
`microgpt-evaluate`, nanoGPT's by the same code on its imported checkpoint. Evaluation that a run does by itself is part
of its time; the scoring here is not. A recipe states its goal in a comment: `val/loss under 1.70 within 20 s`.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench_contestants import Shape
from bench_rig import Bench
from microgpt.data.corpus import prepare
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.compose.groups import shipped_yaml
from microgpt.engine.exchange.nanogpt import read_checkpoint
from microgpt.engine.trained.evaluate import evaluate

GROUP = "experiment/speedrun"
TINY = [*Shape(1, 2, 16, 16, 4).overrides, "trainer.max_steps=4", "sample.max_new_tokens=1", "trainer.compile=false"]
NANOGPT = {
    "cpu": "--device=cpu --compile=False --eval_iters=20 --log_interval=10 --block_size=64 --batch_size=12 --n_layer=4 "
    "--n_head=4 --n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0 --always_save_checkpoint=True",
    "cuda": "",
}
"""From nanoGPT's README. On a CPU the last word makes it save where it ends; on a GPU it keeps its best."""
GOAL = re.compile(r"val/loss\s+(?:under|at most|of)\s+([\d.]+)\s+within\s+([\d.]+)\s*s")
"""A recipe's goal, as its comments state it."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 1 to N")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="recipes or other experiments (default: all recipes)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="tiny Shakespeare, when it cannot be downloaded")
    parser.add_argument("overrides", nargs="*", help="more words for microgpt-train")


def recipes() -> dict[str, Path]:
    """The experiments of the speed run, by name."""
    return {path.stem: path for path in sorted((shipped_yaml() / GROUP).glob("*.yaml"))}


def module(name: str, *words: str) -> list[str]:
    """One of our commands as a process."""
    return [sys.executable, "-m", f"microgpt.engine.commands.{name}", *words]


def wall(command: list[str], folder: Path, **environment: str) -> float:
    """Seconds that a process takes; what it says goes to a file beside its folder."""
    log = folder.with_suffix(".log")
    start = time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(command, env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {log.read_text()[-1000:]}")
    return time.perf_counter() - start


def score(model: Path, *words: str) -> float:
    """Loss on the whole validation split, in nats per token."""
    done = subprocess.run(module("evaluate", str(model), "--json", *words), check=True, stdout=subprocess.PIPE)
    return float(json.loads(done.stdout)["loss"])


def ours(bench: Bench, experiment: str, seed: int) -> tuple[float, float]:
    """One run of a recipe: its seconds and its loss."""
    folder = bench.folder / f"{experiment.replace('/', '-')}-{seed}"
    words = [f"experiment={experiment}", f"seed={seed}", f"hydra.run.dir={folder}", *bench.args.overrides]
    words += [f"data.path={bench.args.text}"] if bench.args.text else []
    words += [*TINY, f"data.path={Shape(1, 2, 16, 16, 4).text(bench.folder)}"] if bench.quick else []
    seconds = wall(module("train", *words, f"trainer.accelerator={bench.device}"), folder)
    return seconds, score(folder)


def nanogpt(bench: Bench, seed: int) -> tuple[float, float]:
    """One run of nanoGPT's published configuration: its seconds and its loss on the whole validation split."""
    words = [f"data.path={bench.args.text}"] if bench.args.text else ["data=shakespeare"]
    corpus, folder = prepare(compose_run(words).config.data), bench.folder / f"nanogpt-{seed}"
    folder.mkdir()
    for split in ("train", "val"):
        corpus.splits[split].ids.numpy().astype("uint16").tofile(folder / f"{split}.bin")
    characters = corpus.tokenizer.to_dict()["characters"]
    (folder / "meta.pkl").write_bytes(f"(dS'vocab_size'\nI{len(characters)}\ns.".encode())
    # Its seed is a number in its source: the copy of train.py that runs has another.
    source = (bench.args.nanogpt / "train.py").read_text(encoding="utf-8")
    (folder / "train.py").write_text(source.replace("torch.manual_seed(1337 +", f"torch.manual_seed({seed} +"))
    code = f"import sys, os, runpy; os.chdir({str(bench.args.nanogpt)!r}); sys.path.insert(0, '.'); "
    code += f"runpy.run_path({str(folder / 'train.py')!r}, run_name='__main__')"
    knobs = [*NANOGPT[bench.device].split(), f"--dataset={folder}", f"--out_dir={folder}"]
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", code, "config/train_shakespeare_char.py", *knobs]
    seconds = wall(command, folder, OMP_NUM_THREADS=threads)
    return seconds, evaluate(read_checkpoint(folder / "ckpt.pt"), corpus.val, protocol="blocks").loss


def summary(name: str, found: list[tuple[float, float]]) -> dict[str, Any]:
    """The row of a contestant."""
    seconds, losses = ([pair[i] for pair in found] for i in (0, 1))
    return {
        "contestant": name, "seeds": len(found), "s": statistics.mean(seconds), "slowest s": max(seconds),
        "val/loss": statistics.mean(losses), "sd": statistics.stdev(losses) if len(losses) > 1 else 0.0,
        "worst": max(losses),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> Bench:
    """All recipes, seed by seed in turns."""
    with Bench("speed", __doc__, argv, arguments) as bench:
        bench.args.text = bench.args.text and bench.args.text.resolve()
        known, chosen = recipes(), bench.args.only or list(recipes())
        names = {f"speedrun/{n}": known[n] for n in chosen if n in known}
        names |= {n: shipped_yaml() / "experiment" / f"{n}.yaml" for n in chosen if n not in known}
        if bench.quick:
            names = dict(list(names.items())[:1]) or {"quick": shipped_yaml() / "experiment" / "quick.yaml"}
        found: dict[str, list[tuple[float, float]]] = {}
        for seed in range(1, 2 if bench.quick else bench.args.seeds + 1):
            for name in names:
                found.setdefault(name, []).append(ours(bench, name, seed))
                print(f"  seed {seed}: {name} {found[name][-1][0]:.1f} s, {found[name][-1][1]:.4f}", flush=True)
            if bench.args.nanogpt is not None and not bench.quick:
                found.setdefault("nanoGPT", []).append(nanogpt(bench, seed))
        bench.results["seconds and loss of each seed"] = found
        bench.table("time to quality", [summary(name, runs) for name, runs in found.items()])
        for name, path in names.items():
            row = summary(name, found[name])
            if (goal := GOAL.search(path.read_text(encoding="utf-8"))) is not None and not bench.quick:
                bench.claim(f"{name}, mean val/loss", row["val/loss"], at_most=float(goal[1]))
                bench.claim(f"{name}, mean s", row["s"], at_most=float(goal[2]))
    return bench


if __name__ == "__main__":
    main()
