"""This process's rank in its run, and how it leaves a SLURM job. Standard library alone.

A run on several devices has one process a device: a rank. Ranks are started by srun, by torchrun, or by this package
(`microgpt.engine.process.launch`); each finds its number in the environment.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from microgpt.errors import UsageError

log = logging.getLogger("microgpt")

OURS = "MICROGPT_RANK"
"""Set for the ranks that this package started."""
_NO_TASK = 0xFFFFFFF0  # from here on, SLURM's step numbers mean the batch script and the interactive shell


@dataclass(frozen=True)
class Rank:
    """This process among those that train one model together.

    Attributes:
        starter: who started the ranks; empty for a process of its own.
        per_node: the ranks of each node.
        address, port: where rank 0 waits for the others.
    """

    starter: Literal["", "microgpt", "srun", "torchrun"] = ""
    global_rank: int = 0
    local_rank: int = 0
    node: int = 0
    per_node: tuple[int, ...] = (1,)
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def world_size(self) -> int:
        """The ranks on all nodes."""
        return sum(self.per_node)

    @property
    def started(self) -> int:
        """The ranks that were started on this node; 0 for a process of its own."""
        return self.per_node[self.node] if self.starter else 0

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.global_rank == 0


def this_rank(env: Mapping[str, str] = os.environ) -> Rank:
    """Read this process's rank from the environment."""
    if OURS in env or "TORCHELASTIC_RUN_ID" in env:
        local, size = int(env["LOCAL_WORLD_SIZE"]), int(env["WORLD_SIZE"])
        return Rank(
            starter="microgpt" if OURS in env else "torchrun",
            global_rank=int(env["RANK"]),
            local_rank=int(env["LOCAL_RANK"]),
            node=int(env.get("GROUP_RANK", "0")),
            per_node=(local,) * (size // local),
            address=env["MASTER_ADDR"],
            port=int(env["MASTER_PORT"]),
        )
    if is_task(env):
        return Rank(
            starter="srun",
            global_rank=int(env["SLURM_PROCID"]),
            local_rank=int(env["SLURM_LOCALID"]),
            node=int(env["SLURM_NODEID"]),
            per_node=tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE", env.get("SLURM_TASKS_PER_NODE", "1"))),
            address=env.get("MASTER_ADDR") or first_host(env.get("SLURM_STEP_NODELIST", env["SLURM_JOB_NODELIST"])),
            port=int(env.get("MASTER_PORT") or agreed_port(env)),
        )
    return Rank()


def agreed_port(env: Mapping[str, str]) -> int:
    """A port that all tasks of a step work out alike, and other steps, restarts and clusters on the host do not."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME", "SLURM_CONF")
    return 15000 + zlib.crc32(" ".join(env.get(name, "") for name in names).encode()) % 17000


def is_task(env: Mapping[str, str] = os.environ) -> bool:
    """Whether srun started this process as a task, and not a person from a shell inside a job.

    The job's name says nothing about it: a batch job may well be called `bash`.
    """
    step = env.get("SLURM_STEP_ID", "")
    return "SLURM_PROCID" in env and step.isdigit() and int(step) < _NO_TASK and "SLURM_PTY_PORT" not in env


def tasks_per_node(text: str) -> tuple[int, ...]:
    """SLURM's `2(x3),1` as (2, 2, 2, 1)."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return tuple(int(tasks) for tasks, times in parts for _ in range(int(times or 1)))


def first_host(nodes: str) -> str:
    """The first name in SLURM's list of nodes, such as `gcn[03-05,9]`."""
    match = re.match(r"([^,\[]*)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


def check_world(rank: Rank, devices: int, num_nodes: int) -> None:
    """Check that as many ranks run as the config asks for.

    Raises:
        UsageError: when more, fewer or differently spread ones do; what they would train is not what was asked for.
    """
    if not rank.starter and num_nodes > 1:
        raise UsageError(
            f"trainer.num_nodes={num_nodes}, but this process was not started on {num_nodes} nodes",
            "",
            f"start it with srun --nodes={num_nodes} --ntasks-per-node={devices}, with torchrun, or as a sweep: "
            "microgpt-train -m hydra/launcher=slurm ...",
        )
    if not rank.starter or rank.per_node == (devices,) * num_nodes:
        return
    per_node = sorted(set(rank.per_node))
    nodes, each = len(rank.per_node), " or ".join(map(str, per_node))
    srun = "srun" if rank.starter == "srun" else "torchrun"
    flags = "--nodes={} --ntasks-per-node={}" if srun == "srun" else "--nnodes={} --nproc-per-node={}"
    fix = f"start it with {srun} {flags.format(num_nodes, devices)}"
    if len(per_node) == 1:
        fix += f", or set trainer.num_nodes={nodes} trainer.devices={each}"
    raise UsageError(
        f"{srun} started {rank.world_size} {'task' if rank.world_size == 1 else 'tasks'} "
        f"({each} on each of {nodes} {'node' if nodes == 1 else 'nodes'}), but "
        f"trainer.num_nodes={num_nodes} x trainer.devices={devices} asks for {devices * num_nodes}",
        "",
        fix,
    )


def run_name(now: str, env: Mapping[str, str] = os.environ) -> str:
    """The name of a run's folder when none was given: the job's id under SLURM, else the date and time.

    Ranks that srun or torchrun started each have a clock of their own, so they never take it from there; and a job
    that is requeued finds its folder again.

    Raises:
        UsageError: under torchrun without an id for the run.
    """
    here = this_rank(env)
    if here.starter == "srun":
        return f"slurm-{job_id(env)}"
    if here.starter == "torchrun":
        run = env["TORCHELASTIC_RUN_ID"]
        if run == "none":
            fix = "name it with hydra.run.dir=runs/..., or give torchrun --standalone or --rdzv-id"
            raise UsageError("the ranks of torchrun have no common name for the run folder", "", fix)
        return f"torchrun-{run}"
    return now


def job_id(env: Mapping[str, str] = os.environ) -> str:
    """The job's id; of an array's element always `<array>_<element>`, as the bare number means the whole array."""
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID", "")


def leave_job(number: int, *, every_rank: bool = False) -> None:
    """In a SLURM task that signal `number` stopped: requeue the job and end this process, so that it goes on later.

    Returns where that is not to be done: outside SLURM, at a Ctrl-C, when the job is being cancelled or SLURM requeues
    it itself, and when SLURM refuses. Nothing asks twice: a farewell, which calls this, is said once.

    Args:
        every_rank: do it whichever rank this is, as the others may not have noticed; else rank 0 does.
    """
    if not is_task() or number == signal.SIGINT:
        return
    if this_rank().is_first or every_rank:
        job = job_id()
        state = _slurm("squeue", "--noheader", "--format=%T", f"--jobs={job}")
        if state.stdout.strip() != "RUNNING":
            log.info("job %s is %s: leaving it to SLURM", job, state.stdout.strip().lower() or "gone")
            return
        done = _slurm("scontrol", "requeue", job)
        if done.returncode:
            log.warning("warning: SLURM does not requeue job %s (%s)", job, done.stderr.strip())
            return
        log.info("job %s is requeued and will go on in the same folder", job)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # to return would be taken for a finished run, and to fail for a failed one


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
