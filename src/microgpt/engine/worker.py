"""`python -m microgpt.engine.worker RUN_DIR`: train the configuration in a run folder's launch file.

The ranks of one machine, the points of a sweep and SLURM's tasks all start from such a file (`store.launch_file`) and
never rerun a command line. A worker that fails leaves its error in the folder for the process that waits.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from microgpt import streams
from microgpt.engine.process import cluster, garbage, signals
from microgpt.engine.process.heartbeat import beating
from microgpt.engine.process.launch import CHILD
from microgpt.engine.process.stopping import ResumeHint
from microgpt.engine.process.waiting import Load, give_way_if_busy
from microgpt.engine.store.launch_file import Launch, read_launch
from microgpt.engine.store.left_error import leave_error
from microgpt.errors import MicrogptError

if TYPE_CHECKING:
    from microgpt.engine.trained.run import Run


def run_launched(path: Path) -> "Run | None":
    """Train the run in the launch file of `path`; a rank other than 0 returns None.

    Raises:
        MicrogptError: as `microgpt.train` raises it; the error is written into the folder too.
        CheckpointError: the folder has no readable launch file.
        signals.Stopped: a signal stopped the run.
    """
    try:
        launch = read_launch(path)
        with signs_of_life(launch, path):
            signals.at_stop(signals.farewell() or ResumeHint(launch.arguments, path))
            from microgpt.engine.config import RunConfig
            from microgpt.engine.train import run
            from microgpt.registry import import_part

            for name in launch.imports:
                import_part(name)
            return run(RunConfig.from_dict(launch.config), path, launch.arguments)
    except Exception as error:
        leave_error(path, cluster.this_rank().global_rank, error)
        raise


@contextlib.contextmanager
def signs_of_life(launch: Launch, path: Path) -> Iterator[None]:
    """Give signs of life from before torch is loaded, if this is a rank whose parent watches."""
    if cluster.OURS not in os.environ:
        yield
        return
    with beating(path, cluster.this_rank().global_rank, float(launch.config["trainer"]["rank_timeout"])):
        yield


def end_with_parent() -> None:
    """Send this process SIGTERM when the parent, which holds the other end of stdin, is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str] | None = None) -> int:
    """Train the named run folder and return the exit code. Print only unexpected errors: the folder holds the rest."""
    if argv is None:
        garbage.collect_rarely()
        streams.open_descriptors()
        if cluster.OURS not in os.environ:  # a rank counts the other ranks as load; its parent decides
            give_way_if_busy(Load())
    (folder,) = sys.argv[1:] if argv is None else argv
    if CHILD in os.environ:
        end_with_parent()
    with streams.usable(), streams.forgiving():
        code = train_launched(Path(folder))
    if argv is None:
        signals.nothing_is_left_to_save()
    return code


def train_launched(path: Path) -> int:
    """Call `run_launched` and turn however it ends into an exit code."""
    try:
        with signals.handled():
            run_launched(path)
    except MicrogptError as error:
        return error.exit_code
    except signals.Stopped as stopped:
        signals.last_words(stopped)
        return 128 + stopped.number
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
