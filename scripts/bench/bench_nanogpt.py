"""nanoGPT as a contestant: its own train.py and model.py, from a checkout that the user names and from nowhere else."""

import contextlib
import importlib.util
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import torch

from bench_contestants import Shape, log_every
from bench_rig import Bench
from microgpt.engine.exchange.nanogpt import read_checkpoint


def nanogpt(bench: Bench, shape: Shape, steps: int, compiled: bool = False, dtype: str | None = None) -> float:
    """Seconds per step of nanoGPT's own train.py with its published Shakespeare settings, by the times of its lines."""
    data = bench.folder / f"nanogpt-{shape.vocab_size}-{shape.block_size}"
    if not data.exists():
        data.mkdir()
        for name in ("train.bin", "val.bin"):
            shape.ids().tofile(data / name)
        # Its file of facts about the data is a pickle; this one says {"vocab_size": V} and is written out.
        (data / "meta.pkl").write_bytes(f"(dS'vocab_size'\nI{shape.vocab_size}\ns.".encode())
    knobs = {
        "out_dir": bench.folder / "nanogpt-out", "dataset": data, "device": bench.device, "compile": compiled,
        "dtype": dtype or ("bfloat16" if bench.device == "cuda" else "float32"),
        "eval_interval": 10**9, "eval_iters": 1, "max_iters": steps, "lr_decay_iters": max(101, steps),
        "log_interval": log_every(steps), "gradient_accumulation_steps": 1, "dropout": 0.0,
        **{name: getattr(shape, name) for name in ("n_layer", "n_head", "n_embd", "block_size", "batch_size")},
    }  # fmt: skip
    command = [sys.executable, "-u", "train.py", "config/train_shakespeare_char.py"]
    command += [f"--{name}={value}" for name, value in knobs.items()]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    lines: list[tuple[int, float]] = []
    complaints = bench.folder / "nanogpt.err"
    with complaints.open("w") as errors, subprocess.Popen(
        command, cwd=bench.args.nanogpt, env=os.environ | threads, text=True, stdout=subprocess.PIPE, stderr=errors
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("iter "):
                lines.append((int(line.split()[1].rstrip(":")), time.perf_counter()))
    if process.returncode or len(lines) < 3:
        raise RuntimeError(f"nanoGPT's train.py ended with {process.returncode}: {complaints.read_text()[-2000:]}")
    (first, begin), (last, end) = lines[1], lines[-1]
    return (end - begin) / (last - first)


def same_maths(bench: Bench, shape: Shape) -> float:
    """The difference in loss between nanoGPT's model of this shape and ours with the same weights."""
    module = nanogpt_module(bench.args.nanogpt)
    names = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    arguments = {**{name: getattr(shape, name) for name in names}, "bias": False, "dropout": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = module.GPT(module.GPTConfig(**arguments)).eval()
    path = bench.folder / "ckpt.pt"
    torch.save({"model": theirs.state_dict(), "model_args": arguments}, path)
    x, y = torch.randint(shape.vocab_size, (2, 2, shape.block_size))
    with torch.no_grad():
        return abs(float(theirs(x, y)[1]) - float(read_checkpoint(path)(x, targets=y)[1]))


def nanogpt_module(folder: Path) -> ModuleType:
    """nanoGPT's model.py, imported from the checkout and from nowhere else."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
