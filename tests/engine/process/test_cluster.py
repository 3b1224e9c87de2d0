"""A process knows its rank, and a world of another size than asked for is refused."""

import pytest

from microgpt.engine.process.cluster import (
    Rank,
    agreed_port,
    check_world,
    first_host,
    is_task,
    job_id,
    run_name,
    tasks_per_node,
    this_rank,
)
from microgpt.errors import UsageError

TASK = {
    "SLURM_JOB_ID": "1234", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NODELIST": "gcn[07-08]", "SLURM_JOB_NODELIST": "gcn[07-08]",
}  # fmt: skip
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "abc", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500",
}  # fmt: skip


def test_a_task_of_srun_knows_its_rank() -> None:
    here = this_rank(TASK)
    assert here == Rank(
        "srun", global_rank=3, local_rank=1, node=1, per_node=(2, 2), address="gcn07", port=agreed_port(TASK)
    )
    assert (here.world_size, here.started, here.is_first) == (4, 2, False)


def test_tasks_of_one_step_agree_on_a_port_and_other_jobs_steps_and_clusters_take_others() -> None:
    ports = [agreed_port(TASK | {"SLURM_PROCID": str(rank)}) for rank in range(4)]
    assert len(set(ports)) == 1
    assert 15000 <= ports[0] < 32000
    others = ({"SLURM_JOB_ID": "1235"}, {"SLURM_STEP_ID": "1"}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_CONF": "/b"})
    assert len({agreed_port(TASK | other) for other in others} | set(ports)) == 5


def test_a_job_named_bash_has_tasks_too() -> None:
    assert this_rank({**TASK, "SLURM_JOB_NAME": "bash"}).world_size == 4


@pytest.mark.parametrize(
    "env",
    [
        {},
        {key: value for key, value in TASK.items() if key != "SLURM_STEP_ID"},  # the batch script itself
        {**TASK, "SLURM_STEP_ID": "4294967290"},  # the shell that salloc opens
        {**TASK, "SLURM_PTY_PORT": "40000"},  # a shell in srun --pty
    ],
)
def test_a_process_that_a_person_starts_is_on_its_own(env: dict[str, str]) -> None:
    assert not is_task(env)
    assert this_rank(env) == Rank()


def test_torchrun_gives_the_place_even_inside_a_job() -> None:
    assert this_rank({**TASK, **TORCHRUN}) == Rank("torchrun", 1, 1, 0, (2,), "localhost", 29500)


@pytest.mark.parametrize(
    ("text", "tasks"), [("4", (4,)), ("2(x3)", (2, 2, 2)), ("2(x2),1", (2, 2, 1)), ("1,3(x2)", (1, 3, 3))]
)
def test_tasks_per_node_are_read(text: str, tasks: tuple[int, ...]) -> None:
    assert tasks_per_node(text) == tasks


@pytest.mark.parametrize(
    ("nodes", "first"), [("mgn1", "mgn1"), ("gcn[03-05,9]", "gcn03"), ("a1,b2", "a1"), ("n[1,3]-ib,m2", "n1-ib")]
)
def test_the_first_host_is_read(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_an_element_of_an_array_is_never_named_by_the_bare_number() -> None:
    assert job_id({"SLURM_JOB_ID": "11", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "0"}) == "11_0"


def test_ranks_share_the_name_of_their_folder() -> None:
    assert run_name("2026-11-03_12-00-00", {}) == "2026-11-03_12-00-00"
    assert run_name("2026-11-03_12-00-01", TASK) == "slurm-1234"
    assert run_name("2026-11-03_12-00-01", TORCHRUN) == "torchrun-abc"
    with pytest.raises(UsageError, match=r"no common name for the run folder; name it with hydra.run.dir="):
        run_name("2026-11-03_12-00-01", {**TORCHRUN, "TORCHELASTIC_RUN_ID": "none"})


@pytest.mark.parametrize(
    ("rank", "devices", "nodes", "message"),
    [
        (Rank(), 2, 2, r"not started on 2 nodes; start it with srun --nodes=2 --ntasks-per-node=2, .*-m hydra/launch"),
        (
            Rank("srun"), 2, 1,
            r"srun started 1 task \(1 on each of 1 node\), but trainer.num_nodes=1 x trainer.devices=2 asks for 2; "
            r"start it with srun --nodes=1 --ntasks-per-node=2, or set trainer.num_nodes=1 trainer.devices=1",
        ),
        (Rank("srun", per_node=(2,)), 1, 1, r"started 2 tasks \(2 on each of 1 node\).* asks for 1; .*devices=2$"),
        (Rank("srun", per_node=(3, 1)), 2, 2, r"started 4 tasks \(1 or 3 on each of 2 nodes\).* --ntasks-per-node=2$"),
        (Rank("srun", per_node=(4,)), 2, 2, r"started 4 tasks .*asks for 4; start it with srun --nodes=2"),
        (Rank("torchrun", per_node=(2,)), 4, 1, r"torchrun started 2 tasks.*--nnodes=1 --nproc-per-node=4"),
    ],
)  # fmt: skip
def test_a_world_of_another_size_is_refused(rank: Rank, devices: int, nodes: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_world(rank, devices, nodes)


@pytest.mark.parametrize(
    ("rank", "devices", "nodes"), [(Rank(), 4, 1), (Rank("srun", per_node=(2, 2)), 2, 2), (Rank("srun"), 1, 1)]
)
def test_a_world_of_the_right_size_is_accepted(rank: Rank, devices: int, nodes: int) -> None:
    check_world(rank, devices, nodes)
