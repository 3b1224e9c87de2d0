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

from microgpt.engine.process import cluster, signals

CHILD = "MICROGPT_CHILD"
"""Set where stdin is a pipe that closes when the process that waits for this one is gone."""
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


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
