"""A device's memory: held by this process now, at its peak, and still free; keep freed memory. Imports torch alone.

Memory on a GPU means the bytes allocated by torch; on a CPU it means the resident set of the whole process.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch


def held(accelerator: str) -> int:
    """Return the bytes that this process holds now; 0 if the system does not report them."""
    if accelerator == "cuda":
        return torch.cuda.memory_allocated()
    if accelerator == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return most_held(accelerator)
    return pages * os.sysconf("SC_PAGE_SIZE")


def most_held(accelerator: str) -> int:
    """Return the peak of `held` since the process started; 0 if the system does not report it."""
    if accelerator == "cuda":
        return torch.cuda.max_memory_allocated()
    if accelerator == "mps":  # the driver's pool, which never shrinks by itself
        return torch.mps.driver_allocated_memory()
    try:  # ru_maxrss would not do: a new process inherits its parent's
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def available(accelerator: str) -> int | None:
    """Return the bytes that this process may still allocate; None if the system does not report them."""
    if accelerator == "cuda":
        return torch.cuda.mem_get_info()[0]
    if accelerator == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    free = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        group = Path("/sys/fs/cgroup")  # a container's limit
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, IndexError):
        pass  # no such file, or no limit
    return min(free, default=None)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory in the process for reuse inside the block; return it to the system at the end.

    Each training step allocates tensors of the same sizes. By default glibc returns the top of its heap to the system
    whenever tensors are freed, and gets it back cleared, page by page. A small GPT on a CPU then has 8,000 to 45,000
    page faults per step, 5 to 15 % of its time. With other C libraries this does nothing.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the maximum; larger tensors are still mapped one by one
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        libc.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)  # the usual end of glibc's own adaptive threshold
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None
