"""Claims: of the processes that start in a folder one holds it and the others name it; no folder vanishes under it."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from microgpt.engine.store.claim import LOCK, claimed
from microgpt.engine.store.run_folder import claimed_run
from microgpt.errors import MachineError, UsageError

FORK = multiprocessing.get_context("fork")


def start(folder: Path, barrier: Barrier, said: Any, must_be_new: bool, fails: bool) -> None:
    """One starter: claim the folder, stay a moment, leave; tell what happened."""
    barrier.wait()
    try:
        with claimed(folder, must_be_new) as claim:
            time.sleep(0.02)
            if fails:
                raise MachineError("no such device")
            (claim.path / "config.yaml").write_text(f"{os.getpid()}")
            time.sleep(0.1)
        said.put(("held", os.getpid(), str(claim.path)))
    except Exception as error:
        said.put((type(error).__name__, os.getpid(), str(error)))


def race(folder: Path, n: int, must_be_new: bool = False, failing: int = 0) -> list[tuple[str, int, str]]:
    """What `n` starters in one folder say, of which `failing` would fail once they hold it."""
    barrier, said = FORK.Barrier(n), FORK.SimpleQueue()
    starters = [
        FORK.Process(target=start, args=(folder, barrier, said, must_be_new, i < failing), daemon=True)
        for i in range(n)
    ]
    for starter in starters:
        starter.start()
    answers = [said.get() for _ in starters]
    for starter in starters:
        starter.join()
    return answers


@pytest.mark.parametrize("exists", [False, True])
def test_of_n_starters_one_holds_the_folder_and_the_others_name_it(tmp_path: Path, exists: bool) -> None:
    for trial in range(8):
        folder = tmp_path / str(trial) / "a" / "run"
        if exists:
            folder.mkdir(parents=True)
        answers = race(folder, 6)
        holders = [pid for kind, pid, _ in answers if kind == "held"]
        assert len(holders) == 1, answers
        wanted = f"process {holders[0]} on {socket.gethostname()} is training in {folder}; wait for it to end"
        assert [said.startswith(wanted) for kind, _, said in answers if kind == "UsageError"] == [True] * 5
        assert (folder / "config.yaml").read_text() == str(holders[0])
        assert not (folder / LOCK).exists()


def test_starters_that_fail_take_no_folder_from_the_others(tmp_path: Path) -> None:
    for trial in range(8):
        answers = race(tmp_path / str(trial) / "run", 6, failing=3)
        assert {kind for kind, _, _ in answers} <= {"held", "UsageError", "MachineError"}, answers
        assert [said for kind, _, said in answers if kind == "MachineError" and said != "no such device"] == []
        assert sum(kind != "UsageError" for kind, _, _ in answers) >= 1
        if not any(kind == "held" for kind, _, _ in answers):
            assert list(tmp_path.glob(f"{trial}/run/*")) == []


def test_n_starters_of_a_new_folder_get_n_folders(tmp_path: Path) -> None:
    for trial in range(4):
        folder = tmp_path / str(trial) / "2026-11-26_12-00-00"
        answers = race(folder, 6, must_be_new=True)
        assert sorted(said for _, _, said in answers) == [str(folder), *(f"{folder}-{i}" for i in range(2, 7))]


def test_a_killed_holder_leaves_the_folder_free(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from microgpt.engine.store.claim import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(UsageError, match=f"process {holder.pid} on"), claimed(tmp_path / "run"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert (tmp_path / "run" / LOCK).exists()
    with claimed(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert list((tmp_path / "run").iterdir()) == []


@contextmanager
def child_with(descriptor: int) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(descriptor,))
    yield child
    child.communicate(b"\n")


def test_a_child_that_inherits_the_lock_holds_the_folder_after_its_parent(tmp_path: Path) -> None:
    with claimed(tmp_path) as claim:
        assert claim.descriptor is not None
        held = os.dup(claim.descriptor)
        os.link(tmp_path / LOCK, tmp_path / "kept")  # a killed parent does not remove its lock
    (tmp_path / "kept").rename(tmp_path / LOCK)
    with child_with(held):
        os.close(held)
        with pytest.raises(UsageError, match="is training"), claimed(tmp_path):
            pass
    with claimed(tmp_path):
        pass


def test_a_failed_claim_removes_what_it_made_and_nothing_else(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        with claimed_run(folder) as run_dir:
            run_dir.log.write_text("hello")
            raise MachineError("no such device")

    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "mine" / "a" / "run", tmp_path / "mine"):
        with pytest.raises(MachineError):
            fail(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "train.log"]
    with claimed_run(tmp_path / "b" / "run") as run_dir:
        run_dir.write_config({})
    assert [path.name for path in (tmp_path / "b" / "run").iterdir()] == ["config.yaml"]


def test_a_place_that_cannot_be_a_folder_is_5(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "at all")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(MachineError, match="cannot write"), claimed(place):
            pass
    (tmp_path / "run").mkdir()
    (tmp_path / "target").write_text("keep me")
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "target")  # a stranger's folder
    with pytest.raises(MachineError, match="cannot write"), claimed(tmp_path / "run"):
        pass
    assert (tmp_path / "target").read_text() == "keep me"
