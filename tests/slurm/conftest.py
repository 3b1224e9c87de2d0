"""`cluster`: a real SLURM of two nodes, started once a session; each test finds an empty queue."""

import os
from collections.abc import Iterator

import pytest
from mini_slurm import MiniSlurm, missing


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[MiniSlurm]:
    if why := missing():
        # Where SLURM is meant to be there, as in CI, a skip would hide that nothing was tested.
        (pytest.fail if os.environ.get("MICROGPT_REQUIRE_SLURM") == "1" else pytest.skip)(why)
    with MiniSlurm(nodes=2) as cluster:
        yield cluster


@pytest.fixture
def cluster(slurm_daemons: MiniSlurm) -> Iterator[MiniSlurm]:
    yield slurm_daemons
    slurm_daemons.cancel_all()
