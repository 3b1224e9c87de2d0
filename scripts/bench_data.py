"""How fast text becomes indices and batches: MB/s, peak memory and batches/s, in one process each.

    python scripts/bench_data.py [--mb 1000] [--json FILE]

The text is English-like, made here from a fixed seed. Encoding is timed from the file to the splits, with nothing in
the cache; memory is what the process grew by, against the file's size. Quote it with the machine and its load.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHILD = """
import json, resource, sys, time
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.windows import Windows

path, cache = sys.argv[1:]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
corpus = prepare(DataConfig(path=path, cache_dir=cache))
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
windows = Windows(corpus.train, 128, 128, seed=0)
windows.batch(0)
begin, n = time.perf_counter(), 0
while time.perf_counter() - begin < 1.0:
    windows.batch(n)
    n += 1
rate = n / (time.perf_counter() - begin)
print(json.dumps({"seconds": seconds, "grown_mb": (after - before) / 1024, "batches": rate}))
"""


def make_text(path: Path, megabytes: int) -> int:
    """Write about so many megabytes of words; returns the bytes written."""
    import numpy as np

    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("etaoinshrdlu"), rng.integers(1, 9))) for _ in range(5000)]
    piece = " ".join(rng.choice(words, 200_000)).encode()
    with path.open("wb") as file:
        for _ in range(max(1, megabytes * 10**6 // len(piece))):
            file.write(piece + b".\n")
    return path.stat().st_size


def main() -> None:
    """Time a cold and a cached preparation, print a table."""
    p = argparse.ArgumentParser(description="Text to indices and to batches.")
    p.add_argument("--mb", type=int, default=1000)
    p.add_argument("--json", type=Path)
    a = p.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        size = make_text(path, a.mb) / 1e6
        for name in ("cold", "cached"):
            done = subprocess.run(
                [sys.executable, "-c", CHILD, str(path), str(Path(folder) / "cache")],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            results[name] = json.loads(done.stdout) | {"mb": size}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{size:,.0f} MB of text, {os.cpu_count()} cores, load {load:.1f}, {time.strftime('%Y-%m-%d')}")
    for name, r in results.items():
        print(f"{name:>7}: {size / r['seconds']:7,.0f} MB/s   memory grew by {r['grown_mb']:,.0f} MB   "
              f"{r['batches']:,.0f} batches/s at 128 x 128")  # fmt: skip
    if a.json:
        a.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
