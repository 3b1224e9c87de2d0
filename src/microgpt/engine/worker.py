"""`python -m microgpt.engine.worker RUN_DIR`: train what was written down for a run folder (`store.launch_file`).

The ranks of one machine, the points of a sweep and SLURM's tasks are all started so, never by running a command line
again. An error is left in the folder for the process that waits.
"""

import contextlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from microgpt.engine.process import cluster, garbage, signals
from microgpt.engine.process.launch import CHILD
from microgpt.engine.process.stopping import ResumeHint
from microgpt.engine.process.waiting import Load, give_way_if_busy
from microgpt.engine.store.launch_file import leave_error, read_launch
from microgpt.errors import MicrogptError

if TYPE_CHECKING:
    from microgpt.engine.trained.run import Run


def run_launched(path: Path) -> "Run | None":
    """Train what was written down; a rank other than 0 returns None.

    Raises:
        MicrogptError: as `microgpt.train` does; it is left in the folder too.
        CheckpointError: nothing was written down.
        signals.Stopped: a signal asked for the end.
    """
    try:
        launch = read_launch(path)
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


def end_with_parent() -> None:
    """Stop as at SIGTERM when the process that holds the other end of stdin is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str] | None = None) -> int:
    """Train the folder that is named; returns the exit code. Only unexpected errors are printed: others are left."""
    if argv is None:
        garbage.collect_rarely()
        if cluster.OURS not in os.environ:  # a rank is kept busy by the others, for whom its parent has chosen
            give_way_if_busy(Load())
    (folder,) = sys.argv[1:] if argv is None else argv
    if CHILD in os.environ:
        end_with_parent()
    try:
        with signals.handled():
            run_launched(Path(folder))
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
