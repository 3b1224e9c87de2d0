"""Train in several processes, one per device: start them on this machine, and notice the ones that are lost."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch.distributed as dist

from microgpt import streams
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.world import World
from microgpt.engine.process import cluster, signals
from microgpt.engine.process.heartbeat import Watch, beating, forget_beats
from microgpt.engine.process.launch import free_port, processes, start, wait_together
from microgpt.engine.process.stopping import newest_step, said_for_us
from microgpt.engine.store.launch_file import Launch, forget_launch, write_launch
from microgpt.engine.store.left_error import leave_error, read_error
from microgpt.engine.store.run_folder import RunDir
from microgpt.errors import MachineError, MicrogptError
from microgpt.registry import portable_imports

LOST = "lost contact with another rank"


def train_in_ranks(config: RunConfig, run_dir: RunDir, arguments: Sequence[str], count: int) -> None:
    """Train with `count` ranks on this machine; the other arguments are as for `microgpt.engine.train.run`.

    Args:
        run_dir: the folder, claimed by this process; the ranks hold it too, until the last of them has ended.

    Raises:
        MicrogptError: a rank failed; this is the error that the first of them left in the folder.
        MachineError: a rank was killed, or gave no sign of life for `trainer.rank_timeout` seconds.
        signals.Stopped: a signal arrived; the ranks have saved and exited.
    """
    common = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    if "OMP_NUM_THREADS" not in os.environ:  # the ranks share the cores
        common["OMP_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // count)
    # The network's own warnings about a lost rank say nothing that our error does not.
    quiet = {} if "TORCH_CPP_LOG_LEVEL" in os.environ else {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    path = run_dir.path
    write_launch(path, Launch(config.to_dict(), portable_imports(config.imports), arguments))
    forget_beats(path)
    watch, timeout = Watch(path, count, config.trainer.rank_timeout), config.trainer.rank_timeout
    try:
        with processes() as ranks:
            for rank in range(count):
                env = {**common, **quiet, cluster.OURS: 1, "RANK": rank, "LOCAL_RANK": rank}
                ranks.append(start(path, env, lock=run_dir.lock))
            failed = wait_together(ranks, lambda: require_all(watch, path, timeout))
            if failed is not None:
                raise failure(path, ranks, failed)
    except signals.Stopped as stopped:
        if ranks and ranks[0].returncode == 128 + stopped.number:
            said_for_us()
        raise
    finally:
        forget_beats(path)
        if run_dir.is_new and not run_dir.config.exists():  # the run has not begun: leave no trace
            forget_launch(path)


def failure(path: Path, ranks: Sequence[subprocess.Popen[bytes]], failed: int) -> MicrogptError:
    """The error to report after rank `failed` ended first.

    Raises:
        signals.Stopped: a signal stopped all ranks together, at the same step.
    """
    codes = [process.poll() for process in ranks]
    for number in signals.SIGNALS:
        if all(code == 128 + number for code in codes):
            said_for_us()
            raise signals.Stopped(number, by_all=True)
    code = codes[failed] or 0
    if code < 0:
        name = signal.Signals(-code).name
        memory = ", with a smaller trainer.micro_batch_size if memory ran out" if name == "SIGKILL" else ""
        return MachineError(f"rank {failed} was killed by {name}", str(path), again(path) + memory)
    left = [error for rank in (failed, *range(len(ranks))) if (error := read_error(path, rank)) is not None]
    cause_first = sorted(left, key=lambda error: error.what.startswith(LOST))
    return next(iter(cause_first), MicrogptError(f"rank {failed} ended with exit code {code}", str(path)))


def require_all(watch: Watch, path: Path, timeout: float) -> None:
    """Check that every rank has given a sign of life.

    Raises:
        MachineError: a rank has not; the error names it.
    """
    if silent := watch.silent():
        who = f"rank {silent[0]} is" if len(silent) == 1 else f"ranks {', '.join(map(str, silent))} are"
        what = f"{who} stopped or gone: no sign of life for {timeout:g} s"
        raise MachineError(what, str(path), f"{again(path)}, or raise trainer.rank_timeout")


@contextlib.contextmanager
def together(world: World, path: Path, timeout: float) -> Iterator[None]:
    """Train as one of several ranks inside the block: report a lost rank as one error, and never wait for it forever.

    Raises:
        MachineError: another rank is gone.
    """
    rank = world.rank
    if world.size == 1 or not rank.starter:
        yield
        return
    watched = contextlib.nullcontext() if rank.starter == "microgpt" else mutual_watch(world, path, timeout)
    try:
        with watched:
            yield
    except (RuntimeError, OSError) as error:
        if not is_lost_contact(error):
            raise
        raise MachineError(LOST, str(path), again(path)) from error


@contextlib.contextmanager
def mutual_watch(world: World, path: Path, timeout: float) -> Iterator[None]:
    """Watch the other ranks inside the block, where no parent of ours does; leave when one of them is silent.

    The main thread may be waiting for the lost rank in code that nothing interrupts, so this ends the process.
    """
    watch = Watch(path, world.size, timeout)

    def look() -> None:
        try:
            require_all(watch, path, timeout)
        except MachineError as error:
            leave_error(path, world.rank.global_rank, error)
            streams.warn(f"microgpt: error: {error}")
            streams.flush()
            os._exit(error.exit_code)

    with beating(path, world.rank.global_rank, timeout, look):
        yield


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error is that of a collective whose other side is gone."""
    text = str(error).lower()
    words = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe", "socket")
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and any(word in text for word in words))


def again(path: Path) -> str:
    """How to go on after a rank was lost."""
    step = newest_step(path)
    return (
        f"start it again in this folder to go on from step {step}" if step else "nothing is saved yet: start it again"
    )
