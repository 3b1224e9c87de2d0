"""The memory of this machine as a whole. Imports only the standard library, so that it can be asked before torch."""

import contextlib
import os
import sys
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
ACCELERATOR_FILES = ("nvidia[0-9]*", "dxg", "kfd")
"""Names in /dev of GPUs that torch can use: NVIDIA's, in WSL, AMD's."""
LARGEST_ACCELERATOR = 2**40
"""More bytes than any one GPU has."""


def host_bytes() -> int | None:
    """The most bytes that processes can hold: memory and swap, or a container's limit; None if unknown."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total = sum(int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "SwapTotal"))
    except (OSError, ValueError, KeyError):
        try:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):  # Windows
            return None
        total *= 3 if sys.platform == "darwin" else 1  # macOS swaps to its disk, usefully up to a few times the memory
    with contextlib.suppress(OSError, ValueError):
        limit = int((GROUP / "memory.max").read_text())
        total = min(total, limit + _swap_limit())
    return total


def _swap_limit() -> int:
    try:
        return int((GROUP / "memory.swap.max").read_text())
    except (OSError, ValueError):  # no limit
        return 2**62


def may_have_accelerator() -> bool:
    """Whether there may be a GPU with memory of its own."""
    return os.name == "nt" or any(next(Path("/dev").glob(name), None) for name in ACCELERATOR_FILES)
