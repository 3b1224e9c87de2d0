"""How the CPU threads of one process wait for one another, by how busy the machine is. Standard library alone.

Between two products a thread spins, so that the next one starts at once. Beside other busy processes spinning takes
the core from the very thread that is waited for. On two cores beside two busy loops (Zen 4, bfloat16) the default run
trains at 3,900 tokens/s when threads spin as they do by default, at 7,900 when they give way after 1,000 turns, at
8,700 after 100 and at 9,100 at once; alone it trains at 19,000 to 22,000. How threads wait changes no bit of a result.
GNU's OpenMP, which torch brings on Linux, reads the setting when it is loaded.
"""

import os
import sys
import time
from pathlib import Path

BUSY = 0.5
"""Cores that other processes keep busy, from which on threads give way early."""
ENOUGH = 0.1
"""Seconds over which the load must be watched: the system counts in hundredths."""


class Load:
    """What other processes have done since this object was made."""

    def __init__(self) -> None:
        self._began = _reading()

    def others(self, watch: bool = True) -> float | None:
        """Cores that others kept busy on average; None where the system does not tell.

        Args:
            watch: wait until `ENOUGH` seconds have passed; otherwise too short a time says None.
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


def _reading() -> tuple[float, float] | None:
    """The time, and the seconds that processors have worked for others than this process and its children."""
    try:
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = ticks
    worked = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), worked - sum(os.times()[:4])


def give_way_if_busy(load: Load, watch: bool = True) -> None:
    """Before torch is loaded: let its threads give up their cores early when the machine is busy with other work. What
    the user has set (GOMP_SPINCOUNT, OMP_WAIT_POLICY) stays."""
    is_ours = "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if is_ours and sys.platform == "linux" and (load.others(watch) or 0.0) >= BUSY:
        os.environ["GOMP_SPINCOUNT"] = "100"
