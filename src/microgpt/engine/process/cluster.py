"""This process's rank and world size, and how to leave a SLURM job. Imports the standard library alone.

A run on several devices has one process per device, called a rank. srun, torchrun or this package
(`microgpt.engine.process.launch`) starts the ranks; each reads its number from the environment.
"""

import logging
import os
import re
import signal
import subprocess
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from microgpt import streams
from microgpt.errors import UsageError

log = logging.getLogger("microgpt")

OURS = "MICROGPT_RANK"
"""Environment variable that marks a rank started by this package."""
_NO_TASK = 0xFFFFFFF0  # SLURM's step numbers from here up mean the batch script and the interactive shell


@dataclass(frozen=True)
class Rank:
    """This process's rank among the processes that train one model together.

    Attributes:
        starter: the launcher of the ranks; empty for a single process.
        per_node: the number of ranks on each node.
        address, port: rank 0 listens here for the others.
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
        """The number of ranks on all nodes."""
        return sum(self.per_node)

    @property
    def started(self) -> int:
        """The number of ranks started on this node; 0 for a single process."""
        return self.per_node[self.node] if self.starter else 0

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and messages."""
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
    """Derive a port that a step's tasks agree on and that differs between steps, restarts and clusters on one host."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME", "SLURM_CONF")
    return 15000 + zlib.crc32(" ".join(env.get(name, "") for name in names).encode()) % 17000


def is_task(env: Mapping[str, str] = os.environ) -> bool:
    """Whether srun started this process as a task, rather than a person in a shell inside a job.

    The job's name does not tell: a batch job may be called `bash`.
    """
    step = env.get("SLURM_STEP_ID", "")
    return "SLURM_PROCID" in env and step.isdigit() and int(step) < _NO_TASK and "SLURM_PTY_PORT" not in env


def tasks_per_node(text: str) -> tuple[int, ...]:
    """Parse SLURM's `2(x3),1` as (2, 2, 2, 1)."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return tuple(int(tasks) for tasks, times in parts for _ in range(int(times or 1)))


def first_host(nodes: str) -> str:
    """Return the first name in a SLURM node list such as `gcn[03-05,9]`."""
    match = re.match(r"([^,\[]*)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else nodes


def check_world(rank: Rank, devices: int, num_nodes: int) -> None:
    """Check that the ranks match the config's number of nodes and devices.

    Raises:
        UsageError: the number of ranks or their spread over nodes differs, so they would train another run.
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
    """Name a run's folder by default: the job's id under SLURM, torchrun's run id, else `now`, the date and time.

    Ranks of srun or torchrun never use the time, because each has its own clock. The id also leads a requeued job back
    to its folder.

    Raises:
        UsageError: torchrun has no id for the run.
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
    """Return the job's id; for an array element `<array>_<element>`, since a bare number can mean the whole array."""
    if "SLURM_ARRAY_JOB_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID", "")


def leave_job(number: int, *, every_rank: bool = False) -> None:
    """Requeue the job and end this process after signal `number` stopped a SLURM task, so that the job resumes later.

    Return without doing so outside SLURM, at a Ctrl-C, when the job is being cancelled, when SLURM requeues the job
    itself, and when SLURM refuses. The farewell calls this, and only once.

    Args:
        every_rank: requeue from any rank, because the others may have missed the signal; otherwise only rank 0 does.
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
    streams.flush()
    os._exit(0)  # SLURM takes a return for a finished run and an error for a failed one


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
