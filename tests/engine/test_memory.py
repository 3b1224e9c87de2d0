"""What is freed during training is used again, instead of being asked of the system anew."""

import resource

import pytest
import torch

from microgpt.engine import memory

pytestmark = pytest.mark.skipif(memory._glibc() is None, reason="glibc's allocator alone is told to keep memory")
SIZE = 160 * 2**20


def page_faults(n_bytes: int) -> int:
    """Pages that the system had to give for a tensor of so many bytes, which is freed at once."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(n_bytes, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_tensor_of_the_same_size_costs_no_pages_inside_and_the_system_has_them_back_at_the_end() -> None:
    pages = SIZE // resource.getpagesize()
    before = memory.held("cpu")
    with memory.kept():
        page_faults(SIZE)
        assert page_faults(SIZE) < pages / 100
        assert memory.held("cpu") - before > 0.9 * SIZE
    assert memory.held("cpu") - before < 0.1 * SIZE
    page_faults(SIZE)
    assert page_faults(SIZE) > pages / 100  # as it was: large tensors are the system's own again
