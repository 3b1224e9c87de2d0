"""Start processes of this package and see them to their end: the ranks of a run, the points of a sweep."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from omegaconf import DictConfig

from microgpt.engine.config import RunConfig
from microgpt.engine.process import cluster, signals
from microgpt.engine.process.stopping import said_for_us
from microgpt.engine.store.run_folder import RunDir, remove_empty
from microgpt.engine.worker import CHILD, forget_launch, read_error, write_launch
from microgpt.errors import MicrogptError

GRACE = 10.0
"""Seconds that the other ranks have to end by themselves after one failed."""
_PLACE = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "NODE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)


def train_in_ranks(config: RunConfig, tree: DictConfig, run_dir: RunDir, arguments: Sequence[str], count: int) -> None:
    """Train with `count` ranks on this machine; the other arguments are those of `microgpt.engine.train.run`.

    Raises:
        MicrogptError: what the rank that failed first has left in the folder.
        signals.Stopped: a signal came; the ranks have saved and left.
    """
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    if "OMP_NUM_THREADS" not in os.environ:  # the ranks share the cores
        common["OMP_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // count)
    path, made = run_dir.path, run_dir.create()
    write_launch(path, config, tree, arguments)
    try:
        with processes() as ranks:
            for rank in range(count):
                ranks.append(start(path, {**common, cluster.OURS: 1, "RANK": rank, "LOCAL_RANK": rank}))
            failed = wait_together(ranks)
        if failed is not None:
            code = ranks[failed].returncode
            raise read_error(path, failed) or MicrogptError(f"rank {failed} ended with exit code {code}", str(path))
    except signals.Stopped as stopped:
        if ranks and ranks[0].returncode == 128 + stopped.number:
            said_for_us()
        raise
    finally:
        if made and not run_dir.config.exists():  # it has not begun: leave no trace
            forget_launch(path)
            remove_empty(made)


def start(path: Path, env: Mapping[str, object], output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a worker for a run folder.

    It has a session of its own, so that a Ctrl-C reaches it once, through `processes`; and it ends when this process
    does, whose end of its stdin is closed then.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in (*_PLACE, cluster.OURS)}
    return subprocess.Popen(
        [sys.executable, "-m", "microgpt.engine.worker", str(path)],
        env=inherited | {CHILD: "1"} | {key: str(value) for key, value in env.items()},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )


@contextlib.contextmanager
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A list of processes that none of outlives this block. A signal that stops us is passed on, and they are waited
    for: they save first. A second one is passed on too."""
    started: list[subprocess.Popen[bytes]] = []
    stopped: BaseException | None = None
    try:
        yield started
    except (signals.Stopped, KeyboardInterrupt) as error:
        stopped = error
        while True:
            try:
                number = stopped.number if isinstance(stopped, signals.Stopped) else 2
                for process in started:
                    if process.poll() is None:
                        process.send_signal(number)
                for process in started:
                    process.wait()
                break
            except (signals.Stopped, KeyboardInterrupt) as again:
                stopped = again
        raise stopped from None
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()


def wait_together(ranks: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all; when one fails the others, which may wait for it for ever, have `GRACE` seconds.

    Returns:
        The first that failed, None when none did.
    """
    failed: int | None = None
    deadline = float("inf")
    while any(process.poll() is None for process in ranks):
        if failed is None:
            failed = next((i for i, process in enumerate(ranks) if process.poll()), None)
            deadline = time.monotonic() + GRACE if failed is not None else deadline
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return next((i for i, process in enumerate(ranks) if process.returncode), None) if failed is None else failed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
