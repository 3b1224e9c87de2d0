"""Choose how long OpenMP threads spin, by the machine's load. Imports the standard library alone.

A thread spins between two matrix products so that the next one starts at once. If other processes are busy, a spinning
thread takes the core from the thread that it waits for. On two cores beside two busy loops (Zen 4, bfloat16) the
default run trains at 3,900 tokens/s with the default spinning, at 7,900 if threads yield after 1,000 turns, at 8,700
after 100 and at 9,100 at once; alone it trains at 19,000 to 22,000. Spinning changes no bit of a result. torch ships
GNU's OpenMP on Linux, which reads the setting when it is loaded.
"""

import os
import sys
import time
from pathlib import Path

BUSY = 0.5
"""Threads yield early if other processes keep at least this many cores busy."""
ENOUGH = 0.1
"""Shortest measurement of the load, in seconds; the system counts in hundredths."""


class Load:
    """The load from other processes since this object was created."""

    def __init__(self) -> None:
        self._began = _reading()

    @property
    def age(self) -> float:
        """Seconds since this object was created; 0 if the system does not report the load."""
        return time.perf_counter() - self._began[0] if self._began else 0.0

    def others(self, watch: bool = True) -> float | None:
        """Return the average number of cores kept busy by others; None if the system does not report it.

        Args:
            watch: wait until `ENOUGH` seconds have passed; otherwise return None before that.
        """
        if self._began is None:
            return None
        seconds = time.perf_counter() - self._began[0]
        if seconds < ENOUGH and not watch:
            return None
        time.sleep(max(0.0, ENOUGH - seconds))
        now = _reading()
        if now is None:
            return None
        return max(0.0, (now[1] - self._began[1]) / (now[0] - self._began[0]))


def busy_text(others: float | None) -> str:
    """Say how busy other processes keep the machine; empty if it is quiet or unknown."""
    if others is None or others < BUSY:
        return ""
    return f"other processes keep {others:.1f} of {os.cpu_count()} cores busy"


def _reading() -> tuple[float, float] | None:
    """Read the time and the CPU seconds used by all processes except this one and its children."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = ticks
    worked = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), worked - sum(os.times()[:4])


def give_way_if_busy(load: Load, watch: bool = True) -> None:
    """Make torch's threads yield their cores early on a busy machine. Call this before torch is loaded.

    The user's own GOMP_SPINCOUNT or OMP_WAIT_POLICY takes precedence.
    """
    is_ours = "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if is_ours and sys.platform == "linux" and (load.others(watch) or 0.0) >= BUSY:
        os.environ["GOMP_SPINCOUNT"] = "100"
