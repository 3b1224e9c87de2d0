"""The GPU day, rehearsed: whatever an item does, the others are done and what was found is written."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "bench"
PLANTED = """

@item(30)
def wrong(bench):
    return {"found": undefined}


@item(20)
def hanging(bench):
    import os, subprocess, time
    child = subprocess.Popen(["sleep", "600"])
    print(os.getpid(), child.pid, flush=True)
    time.sleep(600)


@item(30)
def fine(bench):
    return {"figure": 2.5}
"""


def day(bench: Path, out: Path, *words: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, str(bench / "gpu_day.py"), str(out), "--quick", *words]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stderr == ""
    results = json.loads((out / "gpu_day.json").read_text(encoding="utf-8"))
    for name, found in results.items():
        assert f"{found['verdict']}  {name}" in done.stdout
    return done.returncode, results


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_crash_and_a_hang_cost_one_item_each(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    shutil.copytree(BENCH, bench)
    with (bench / "gpu_items.py").open("a") as file:
        file.write(PLANTED)
    failed, results = day(bench, tmp_path / "out", "--only", "wrong", "hanging", "fine")
    assert failed == 2
    assert [found["verdict"] for found in results.values()] == ["FAILED", "FAILED", "rehearsed"]
    assert "NameError" in (tmp_path / "out" / "wrong.log").read_text()
    assert results["hanging"]["error"] == "not done within 20 s"
    assert results["fine"]["figure"] == 2.5
    pids = [int(word) for line in (tmp_path / "out" / "hanging.log").read_text().splitlines() for word in line.split()
            if line.replace(" ", "").isdigit()]  # fmt: skip
    assert len(pids) == 2
    time.sleep(0.2)
    assert not any(map(is_alive, pids))


@pytest.mark.slow
def test_items_run_with_tiny_sizes_and_stop_when_the_time_is_over(tmp_path: Path) -> None:
    names = ("machine", "attention", "precisions", "shakespeare_score", "generation_speed", "fsdp_of_one")
    failed, results = day(BENCH, tmp_path / "out", "--only", *names)
    assert failed == 0, results
    assert results["attention"]["worst"] < 1e-5
    assert results["shakespeare_score"]["eager val/loss"] > 2
    assert results["fsdp_of_one"]["worst"] == 0
    assert results["generation_speed"]["many"] > 0
    failed, results = day(BENCH, tmp_path / "late", "--only", "machine", "--minutes", "0.1")
    assert (failed, results["machine"]["note"]) == (0, "no time left")
