"""`python -m microgpt.engine.worker RUN_DIR`: train what was written down for a run folder.

Ranks of one machine, points of a sweep beside one another and SLURM's tasks are all started so: from the composed and
checked configuration in the folder (`.launch.json`), never by running a command line again. What was composed when a
job was submitted is what it trains, however long it was queued and whatever became of the YAML. An error is left in
the folder for whoever waits.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microgpt import files
from microgpt.engine.process import cluster, garbage, signals
from microgpt.engine.process.stopping import GoOn
from microgpt.engine.process.waiting import Load, give_way_if_busy
from microgpt.errors import CheckpointError, DataError, MachineError, MicrogptError, NonFiniteError, UsageError
from microgpt.text import one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from microgpt.engine.config import RunConfig
    from microgpt.engine.trained.run import Run

LAUNCH = ".launch.json"
LAUNCH_LIMIT = 1 << 24  # bytes
CHILD = "MICROGPT_CHILD"
"""Set where stdin is a pipe that closes when the process that waits for this one is gone."""
KINDS = {kind.exit_code: kind for kind in (UsageError, DataError, CheckpointError, MachineError, NonFiniteError)}


def write_launch(path: Path, config: "RunConfig", tree: "DictConfig", arguments: Sequence[str]) -> None:
    """Write down what is to be trained in the folder `path`."""
    from omegaconf import OmegaConf

    from microgpt.engine.store.run_folder import write_text
    from microgpt.registry import portable_imports

    path.mkdir(parents=True, exist_ok=True)
    forget_launch(path)
    launch = {
        "config": config.to_dict(), "tree": OmegaConf.to_yaml(tree),
        "imports": portable_imports(config.imports), "arguments": list(arguments),
    }  # fmt: skip
    write_text(path / LAUNCH, json.dumps(launch))


def launched_config(path: Path) -> dict[str, Any] | None:
    """The configuration that was written down in a folder, as plain data; None where there is none."""
    try:
        config = files.read_json(path / LAUNCH, LAUNCH_LIMIT)["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return config if isinstance(config, dict) else None


def forget_launch(path: Path) -> None:
    """Remove what was written down, and the errors of an earlier try."""
    for old in (path / LAUNCH, *path.glob(".error-*.json")):
        old.unlink(missing_ok=True)


def run_launched(path: Path) -> "Run | None":
    """Train what was written down; a rank other than 0 returns None.

    Raises:
        MicrogptError: as `microgpt.train` does; it is left in the folder too.
        CheckpointError: nothing was written down.
        signals.Stopped: a signal asked for the end.
    """
    rank = cluster.place().rank
    try:
        try:
            launch = files.read_json(path / LAUNCH, LAUNCH_LIMIT)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"no launch to go by ({error})", str(path), "start it with microgpt-train") from None
        signals.at_stop(signals.farewell() or GoOn(launch["arguments"], path))
        from omegaconf import OmegaConf

        from microgpt.engine.config import RunConfig
        from microgpt.engine.train import run
        from microgpt.registry import import_part

        for name in launch["imports"]:
            import_part(name)
        tree = OmegaConf.create(launch["tree"])
        return run(RunConfig.from_dict(launch["config"]), tree, path, launch["arguments"])
    except MicrogptError as error:
        _leave_error(
            path, rank, {"exit_code": error.exit_code, "what": error.what, "at": error.where, "fix": error.fix}
        )
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {one_line(error, 500)}"
        _leave_error(path, rank, {"exit_code": 1, "what": what, "at": "", "fix": ""})
        raise


def read_error(path: Path, rank: int = 0) -> MicrogptError | None:
    """The error that a rank left in its run folder, if it did."""
    try:
        left = files.read_json(path / f".error-{rank}.json", LAUNCH_LIMIT)
        return KINDS.get(left["exit_code"], MicrogptError)(str(left["what"]), str(left["at"]), str(left["fix"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _leave_error(path: Path, rank: int, error: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a full disk must not hide the error itself
        files.write(path / f".error-{rank}.json", json.dumps(error))


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
        if cluster.OURS not in os.environ:  # the load of a rank are the others, for whom its start has chosen
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
