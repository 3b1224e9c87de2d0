"""The cluster that the other tests run on does what a real one does: it is one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mini_slurm import MiniSlurm, missing, processes_of

pytestmark = pytest.mark.slurm
HERE = Path(__file__).parent
needs_slurm = pytest.mark.skipif(bool(missing()), reason=missing())


def test_a_step_over_two_nodes_runs_on_both(cluster: MiniSlurm) -> None:
    job = cluster.submit("srun bash -c 'echo $SLURMD_NODENAME $SLURM_PROCID'", "--nodes=2", "--ntasks-per-node=2")
    assert cluster.wait(job) == "COMPLETED"
    assert sorted(cluster.output(job).split("\n")) == ["", "mgn1 0", "mgn1 1", "mgn2 2", "mgn2 3"]


def test_node_names_resolve(cluster: MiniSlurm) -> None:
    assert cluster.run("getent", "hosts", "mgn1", "mgn2").count("127.0.0.1") == 2


def test_an_urgent_job_requeues_one_in_main_which_runs_again(cluster: MiniSlurm) -> None:
    script = 'echo start ${SLURM_RESTART_COUNT:-first}; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60'
    job = cluster.submit(script, "--nodes=2", "--exclusive", "--requeue")
    cluster.wait_output(job, "start")
    urgent = cluster.preempt(job)
    assert cluster.wait(urgent) == "COMPLETED"
    assert cluster.wait(job) == "COMPLETED"
    assert cluster.restarts(job) == 1
    starts = [line for line in cluster.output(job).splitlines() if line.startswith("start ")]
    assert starts == ["start first", "start 1"]


def test_a_job_requeued_by_hand_keeps_its_id(cluster: MiniSlurm) -> None:
    job = cluster.submit('echo id $SLURM_JOB_ID; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60', "--requeue")
    cluster.wait_output(job, f"id {job}")
    cluster.requeue(job)
    cluster.wait(job, "COMPLETED")
    assert cluster.output(job).count(f"id {job}\n") == 2


def test_a_signal_reaches_the_steps_of_a_job(cluster: MiniSlurm) -> None:
    job = cluster.submit("srun bash -c 'trap \"echo caught; exit 0\" USR2; echo ready; while :; do sleep 0.1; done'")
    cluster.wait_output(job, "ready")
    cluster.signal(job, "USR2")
    assert cluster.wait(job) == "COMPLETED"
    assert "caught" in cluster.output(job)


def test_a_job_named_bash_runs(cluster: MiniSlurm) -> None:
    job = cluster.submit("srun bash -c 'echo $SLURM_JOB_NAME'", "--job-name=bash")
    assert cluster.wait(job) == "COMPLETED"
    assert cluster.output(job) == "bash\n"


def test_a_job_that_fails_is_told_with_its_output(cluster: MiniSlurm) -> None:
    job = cluster.submit("echo about to fail; exit 7")
    with pytest.raises(RuntimeError, match=rf"job {job} is FAILED, not COMPLETED; it wrote:\nabout to fail"):
        cluster.wait(job, "COMPLETED")
    assert cluster.show(job)["ExitCode"] == "7:0"


def test_sacct_tells_the_states_of_an_array(cluster: MiniSlurm) -> None:
    job = cluster.submit("exit $((SLURM_ARRAY_TASK_ID == 1))", "--array=0-2")
    for task in range(3):
        cluster.wait(f"{job}_{task}")
    lines = cluster.run("sacct", "-o", "JobID,State,NodeList", "--parsable2", "-j", job).splitlines()
    assert lines[0] == "JobID|State|NodeList"
    states = {line.split("|")[0]: line.split("|")[1] for line in lines[1:]}
    assert states == {f"{job}_0": "COMPLETED", f"{job}_1": "FAILED", f"{job}_2": "COMPLETED"}


def test_stopping_leaves_no_process_behind(cluster: MiniSlurm) -> None:
    with MiniSlurm(nodes=1) as second:
        job = second.submit("srun sleep 300")
        second.wait(job, "RUNNING")
        assert {"slurmctld", "slurmd", "munged"} <= {command.split()[0] for command in second.processes().values()}
    assert second.processes() == {}
    assert not second.folder.exists()
    assert cluster.state(cluster.submit("true")) in {"PENDING", "RUNNING", "COMPLETED"}


@needs_slurm
def test_the_daemons_end_with_the_process_that_started_them() -> None:
    code = (
        "import mini_slurm, time; c = mini_slurm.MiniSlurm(1); c.start(); print(c.folder, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    folder = Path(child.stdout.readline().strip())
    assert len(processes_of(folder)) >= 3  # slurmctld forks a helper
    child.kill()
    child.communicate()
    end = time.monotonic() + 20
    while processes_of(folder) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(folder) == {}
    shutil.rmtree(folder)


@pytest.mark.parametrize(("required", "code", "word"), [("", 0, "1 skipped"), ("1", 1, "1 error")])
def test_a_machine_without_slurm_skips_unless_it_is_required(required: str, code: int, word: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mini_slurm.py", "-k", "named_bash"]
    env = {**os.environ, "PATH": "/nonexistent", "MICROGPT_REQUIRE_SLURM": required, "MICROGPT_REQUIRE_ALL": ""}
    done = subprocess.run(command, cwd=HERE, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    assert word in done.stdout
    assert "needs root" in done.stdout or "apt-get install slurmctld slurmd slurm-client munge" in done.stdout
