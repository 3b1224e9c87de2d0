"""What is freed during training is used again, instead of being asked of the system anew."""

import ctypes

import pytest

from microgpt.engine.machine import memory

resource = pytest.importorskip("resource")  # of Unix
libc = memory._glibc()
pytestmark = pytest.mark.skipif(libc is None, reason="glibc's allocator alone is told to keep memory")
BLOCK, BLOCKS = 24 * 2**20, 8


def page_faults() -> int:
    """Pages that the system has to give for some large blocks, which are freed at once."""
    assert libc is not None
    libc.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [ctypes.c_void_p(libc.malloc(BLOCK)) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks:
        libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_blocks_of_the_same_sizes_cost_no_pages_inside_and_the_system_has_them_back_at_the_end() -> None:
    pages = BLOCK * BLOCKS // resource.getpagesize()
    before = memory.held("cpu")
    with memory.keep_freed_memory():
        page_faults()
        assert page_faults() < pages / 100
        assert memory.held("cpu") - before > 0.9 * BLOCK * BLOCKS
    assert memory.held("cpu") - before < 0.1 * BLOCK * BLOCKS
    page_faults()
    assert page_faults() > pages / 2  # as it is elsewhere
