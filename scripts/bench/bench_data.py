"""How fast text becomes indices and batches: MB/s and peak memory in a process of its own, batches/s in turns.

    python scripts/bench/bench_data.py [--mb 1000] [--nanogpt DIR] [--out FILE]

The text is English-like, made here from a fixed seed. Encoding is timed from the file to the splits, first with
nothing in the cache, then again; memory is what the process grew by, against the file's size. Batches are 128 windows
of 128 tokens, as int64: ours from memory and from a memory-mapped file, torch's DataLoader item by item, and
nanoGPT's own get_batch.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

import bench_naive
from bench_machine import child, seconds_of
from bench_rig import Bench, alternate
from microgpt.data.windows import Windows

T, B = 128, 128
CHILD = """
import json, sys, time
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare

before = peak_memory()
start = time.perf_counter()
prepare(DataConfig(path=sys.argv[1], cache_dir=sys.argv[2]))
print(json.dumps({"seconds": time.perf_counter() - start, "grown": peak_memory() - before}))
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--mb", type=int, default=1000, help="megabytes of text")


def write_text(path: Path, megabytes: float) -> int:
    """Write about so many megabytes of words; returns the bytes written."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshrdlu"), rng.integers(1, 9))) for _ in range(5000)]
    piece = " ".join(rng.choice(words, 200_000)).encode()
    with path.open("wb") as file:
        for _ in range(max(1, round(megabytes * 1e6 / len(piece)))):
            file.write(piece + b".\n")
    return path.stat().st_size


def encoding(bench: Bench) -> None:
    """From a file to indices."""
    text = bench.folder / "text.txt"
    size = write_text(text, 1 if bench.quick else bench.args.mb)
    rows = []
    for number in range(bench.rounds):
        for name in ("cold", "cached"):
            found = child(CHILD, str(text), str(bench.folder / f"cache{number}"))
            rows.append({"round": number, "cache": name, "MB/s": size / 1e6 / found["seconds"],
                         "memory of the file's": found["grown"] / size})  # fmt: skip
    bench.table(f"text to indices, {size / 1e6:,.0f} MB", rows)
    cold = [row for row in rows if row["cache"] == "cold"]
    speed = sorted(row["MB/s"] for row in cold)[len(cold) // 2]
    bench.claim("text to indices, MB/s", speed, at_least=200)
    bench.claim("text to indices, memory of the file's", max(row["memory of the file's"] for row in cold), at_most=1.2)


def batches(bench: Bench) -> None:
    """From indices to batches."""
    ids = np.random.default_rng(0).integers(0, 65, 1_000_000).astype(np.uint8)
    (bench.folder / "ids").write_bytes(ids.tobytes())
    mapped = np.memmap(bench.folder / "ids", np.uint8, mode="c")
    items = bench_naive.batches(torch.from_numpy(ids.astype(np.int64)), T, B, 10**6)
    ways: dict[str, Callable[[], Any]] = {
        name: partial(lambda w, steps: w.batch(next(steps)), Windows(torch.from_numpy(source), T, B, seed=0), count())
        for name, source in {"microgpt, in memory": ids, "microgpt, memory-mapped": mapped}.items()
    }
    ways["item by item"] = lambda: next(items)
    if bench.args.nanogpt is not None:
        ways["nanoGPT"] = nanogpt_get_batch(bench, ids)
    times = {name: max(2, round(bench.seconds / 4 / seconds_of(way, "cpu", 2))) for name, way in ways.items()}
    found = alternate({n: partial(seconds_of, way, "cpu", times[n]) for n, way in ways.items()}, bench.rounds)
    slowest = "nanoGPT" if "nanoGPT" in found else "item by item"
    bench.table(f"batches of {B} x {T}", [
        {"way": name, "batches/s": s.inverse(), f"times {slowest}": found[slowest].over(s)} for name, s in found.items()
    ])  # fmt: skip
    if "nanoGPT" in found:
        bench.claim("batches, times nanoGPT", found["nanoGPT"].over(found["microgpt, in memory"]), at_least=100)


def nanogpt_get_batch(bench: Bench, ids: np.ndarray) -> Callable[[], Any]:
    """nanoGPT's own function, taken out of its train.py, which trains when it is imported."""
    source = bench.args.nanogpt / "train.py"
    constants = compile(source.read_text(encoding="utf-8"), str(source), "exec").co_consts
    code = next(c for c in constants if isinstance(c, CodeType) and c.co_name == "get_batch")
    ids.astype(np.uint16).tofile(bench.folder / "train.bin")
    names = {"np": np, "os": os, "torch": torch, "data_dir": str(bench.folder), "block_size": T, "batch_size": B}
    return partial(FunctionType(code, {**names, "device_type": "cpu", "device": "cpu"}), "train")


def main(argv: Sequence[str] | None = None) -> Bench:
    """Both parts."""
    with Bench("data", __doc__, argv, arguments) as bench:
        encoding(bench)
        batches(bench)
    return bench


if __name__ == "__main__":
    main()
