"""A real SLURM of a few nodes on this one machine, for tests: munged, slurmctld and one slurmd per node.

    with MiniSlurm() as cluster:
        job = cluster.submit("srun hostname", "--nodes=2")
        cluster.wait(job, "COMPLETED")
        print(cluster.output(job))

No systemd and no accounting database: `bin/sacct` stands in for `sacct`. It needs root and Debian's packages
slurmctld, slurmd, slurm-client and munge; `missing()` says what this machine lacks. Two partitions hold all nodes:
`main`, and `urgent`, whose jobs preempt those of `main` by requeueing them. Standard library alone.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue", "sinfo", "setpriv")
ENDED = frozenset(("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL"))
MAX_NODES = 8


def missing() -> str:
    """Why no SLURM can be started on this machine; empty when it can."""
    if os.geteuid() != 0:
        return "a SLURM for tests needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    packages = "apt-get install slurmctld slurmd slurm-client munge"
    return f"no {', '.join(absent)} on PATH ({packages})" if absent else ""


def processes_of(folder: Path) -> dict[int, str]:
    """Every living process of the cluster kept in `folder`: those with its path in command line or environment."""
    mark, found = str(folder).encode(), {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            # A zombie waits for a parent that may never reap it, as in a container: it counts as gone.
            alive = re.search(r"^State:\s+[^ZX]", (entry / "status").read_text(), re.MULTILINE)
            if alive and (mark in command or mark in (entry / "environ").read_bytes()):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


class MiniSlurm:
    """A running cluster. Jobs are named by their id, `12`, or by an array task's, `12_0`.

    Args:
        nodes: how many, named mgn1, mgn2, ...
        cpus: how many each claims to have; more than the machine has is fine.
    """

    def __init__(self, nodes: int = 2, cpus: int = 4) -> None:
        assert 1 <= nodes <= MAX_NODES
        self.nodes = [f"mgn{i}" for i in range(1, nodes + 1)]
        self.cpus = cpus
        self.daemons: list[subprocess.Popen[bytes]] = []
        # Not under pytest's own folder: the path of munge's socket must stay below 108 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="mini-slurm-", dir="/tmp"))
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SRUN_"))},
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": f"{Path(__file__).parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemons and return when every node is idle (about a second).

        Raises:
            RuntimeError: with the end of the logs, when the nodes do not come up.
        """
        for name in ("munge", "state", "log", "run", "jobs", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o700)
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self.folder / "slurm.conf").write_text(self._slurm_conf())
        _let_resolve(f"mgn{i}" for i in range(1, MAX_NODES + 1))
        munge = {"key-file": "munge/key", "socket": "run/munge.socket", "pid-file": "run/munged.pid"}
        munge |= {"seed-file": "munge/seed", "log-file": "log/munged.log"}
        self._daemon("munged", "--foreground", "--force", *(f"--{k}={self.folder / v}" for k, v in munge.items()))
        self._until(lambda: (self.folder / "run" / "munge.socket").exists(), 10, "munged")
        self._daemon("slurmctld", "-D", "-c", "-i")
        for node in self.nodes:
            self._daemon("slurmd", "-D", "-N", node)
        self._until(lambda: self._idle_nodes() == set(self.nodes), 30, "the nodes")

    def stop(self) -> None:
        """End every job, then every daemon, and remove the folder.

        Raises:
            RuntimeError: when a process had to be killed: something ignored its end.
        """
        if self.daemons and self.daemons[-1].poll() is None:
            self.cancel_all()
        for daemon in reversed(self.daemons):  # munged last: the others need it to say goodbye
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=15)
        self.daemons = [daemon for daemon in self.daemons if daemon.poll() is None]
        end = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        if left:
            raise RuntimeError(f"processes of the SLURM in {self.folder} had to be killed: {left}")

    def processes(self) -> dict[int, str]:
        """Every living process of this cluster, jobs included: pid -> command line."""
        return processes_of(self.folder)

    def run(self, *command: str, check: bool = True, timeout: float = 60) -> str:
        """What a SLURM client prints, such as `run("squeue")`.

        Raises:
            RuntimeError: with its stderr, when `check` and it fails.
        """
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit the lines of a bash script with sbatch's options; returns the job's id."""
        handle, path = tempfile.mkstemp(suffix=".sh", dir=self.folder / "jobs")
        with os.fdopen(handle, "w") as file:
            file.write(f"#!/bin/bash\n{script}\n")
        out = self.folder / "jobs" / ("%A_%a.out" if any(o.startswith("--array") for o in options) else "%j.out")
        files = (f"--output={out}", "--open-mode=append", f"--chdir={self.folder / 'jobs'}")
        return self.run("sbatch", "--parsable", *files, *options, path).strip()

    def preempt(self, job: str) -> str:
        """Submit a short job to `urgent` that takes whole nodes, as many as `job` runs on; returns its id."""
        nodes = self.show(job)["NumNodes"].split("-")[0]
        return self.submit("sleep 1", "--partition=urgent", f"--nodes={nodes}", "--exclusive")

    def signal(self, job: str, name: str = "USR2", *, batch: bool = False) -> None:
        """Send a signal to a job's steps, as SLURM does before the time limit; with `batch` to its script alone."""
        self.run("scancel", f"--signal={name}", *(["--batch"] if batch else []), job)

    def requeue(self, job: str) -> None:
        self.run("scontrol", "requeue", job)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Jobs submitted meanwhile stay in the queue."""
        self.run("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            yield
        finally:
            self.run("scontrol", "update", "PartitionName=main", "State=UP")

    def cancel_all(self, timeout: float = 30) -> None:
        """Cancel every job and wait until the queue is empty and the nodes are idle again."""
        self.run("scancel", "--full", f"--user={os.geteuid()}", check=False)
        self.run("scancel", f"--user={os.geteuid()}", check=False)
        self._until(lambda: not self.run("squeue", "--noheader", check=False).strip(), timeout, "the empty queue")
        self._until(lambda: self._idle_nodes() == set(self.nodes), timeout, "the idle nodes")

    def show(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says: `JobState`, `Restarts`, `NodeList`, `ExitCode`, ..."""
        return dict(re.findall(r"(\w+)=(\S+)", self.run("scontrol", "-o", "show", "job", job).splitlines()[0]))

    def state(self, job: str) -> str:
        """PENDING, RUNNING, COMPLETED, FAILED, ..."""
        return self.show(job)["JobState"]

    def restarts(self, job: str) -> int:
        """How many times the job was requeued and started again."""
        return int(self.show(job)["Restarts"])

    def output(self, job: str) -> str:
        """What the job has written so far, over all its starts; empty before the first."""
        path = self.folder / "jobs" / f"{job}.out"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, job: str, *states: str, timeout: float = 60) -> str:
        """Wait until a job is in one of `states` (by default: until it has ended); returns its state.

        Raises:
            RuntimeError: when it ends in another state or the time is over, with its output.
        """
        wanted = frozenset(states) or ENDED
        reached = wanted | ENDED
        self._until(lambda: self.state(job) in reached, timeout, f"job {job} to be {' or '.join(sorted(wanted))}", job)
        state = self.state(job)
        if state not in wanted:
            raise RuntimeError(f"job {job} is {state}, not {' or '.join(states)}; it wrote:\n{self.output(job)}")
        return state

    def wait_output(self, job: str, text: str, timeout: float = 60) -> None:
        """Wait until a job has written `text`: the moment to send a signal, which a fixed sleep would guess."""
        self._until(lambda: text in self.output(job), timeout, f"job {job} to write {text!r}", job)

    def _until(self, done: Callable[[], bool], timeout: float, what: str, job: str = "") -> None:
        end = time.monotonic() + timeout
        while not done():
            if time.monotonic() > end:
                queue = self.run("squeue", check=False, timeout=15)
                logs = self.output(job) if job else self._logs()
                raise RuntimeError(f"waited {timeout:g} s for {what}\n{queue}\n{logs}")
            time.sleep(0.1)

    def _logs(self) -> str:
        logs = sorted((self.folder / "log").glob("*.log"))
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in logs)

    def _idle_nodes(self) -> set[str]:
        listing = self.run("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N", check=False)
        return set(listing.split())

    def _daemon(self, *command: str) -> None:
        # They end with this process, even when it is killed before it can stop them.
        guarded = ("setpriv", "--pdeathsig", "TERM", *command)
        with (self.folder / "log" / "daemons.log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(guarded, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )

    def _slurm_conf(self) -> str:
        ports, host, root = _free_ports(1 + len(self.nodes)), socket.gethostname().split(".")[0], self.folder
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} RealMemory=4000"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        )
        return f"""\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1,batch_sched_delay=1
PropagateResourceLimits=NONE
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=3600
SlurmctldTimeout=30
SlurmdTimeout=60
MailProg=/bin/true
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=60 DefaultTime=10 PriorityTier=10 PreemptMode=OFF
"""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _let_resolve(names: Iterator[str]) -> None:
    """Add nodes to /etc/hosts once: distributed training takes its master's address from SLURM's list of nodes."""
    hosts = Path("/etc/hosts")
    known = set(hosts.read_text().split())
    if absent := [name for name in names if name not in known]:
        with hosts.open("a") as file:
            file.write(f"127.0.0.1 {' '.join(absent)}\n")
