"""Start this package's worker processes and wait for them: a run's ranks, a sweep's points."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from microgpt.engine.process import cluster, signals

CHILD = "MICROGPT_CHILD"
"""Environment variable that marks a worker whose stdin is a pipe; the pipe closes when the parent dies."""
GRACE = 10.0
"""Seconds that the other ranks have to exit by themselves after one fails."""
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


def start(
    path: Path, env: Mapping[str, object], output: IO[bytes] | None = None, lock: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a worker for a run folder.

    Args:
        lock: an open lock that the worker shall hold too.

    The worker has its own session, so a Ctrl-C reaches it once, through `processes`. It ends with this process, whose
    end of the worker's stdin closes then.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in (*_PLACE, cluster.OURS)}
    return subprocess.Popen(
        [sys.executable, "-m", "microgpt.engine.worker", str(path)],
        env=inherited | {CHILD: "1"} | {key: str(value) for key, value in env.items()},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    )


@contextlib.contextmanager
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Yield a list for started processes; none of them outlives this block.

    A signal that stops this process is passed on to them. The block then waits while they save. It passes on a second
    signal too.
    """
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


def wait_together(ranks: Sequence[subprocess.Popen[bytes]], look: Callable[[], None] | None = None) -> int | None:
    """Wait for all ranks. After one fails, wait `GRACE` seconds more, since the others may wait for it forever.

    Args:
        look: called again and again while the ranks run; it may raise to give them up.

    Returns:
        The index of the first rank that failed, one that a signal killed before others; None if none did.
    """
    failed: list[int] = []
    deadline = float("inf")
    while any(process.poll() is None for process in ranks) and time.monotonic() <= deadline:
        if look is not None and not failed:
            look()
        failed += [i for i, process in enumerate(ranks) if process.poll() and i not in failed]
        deadline = min(deadline, time.monotonic() + GRACE) if failed else deadline
        time.sleep(0.05)
    failed += [i for i, process in enumerate(ranks) if process.returncode and i not in failed]
    # A rank that loses its peer may abort: the peer is the cause.
    killed = [i for i in failed if ranks[i].returncode < 0 and ranks[i].returncode != -signal.SIGABRT]
    return next(iter([*killed, *failed]), None)


def free_port() -> int:
    """Find a TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
