"""The run folder: file names, disk checks and summary. Imports no Lightning."""

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from microgpt import files
from microgpt.engine.store.claim import claimed
from microgpt.errors import CheckpointError, MachineError
from microgpt.model.files.untrusted import read_json
from microgpt.text import mb

SUMMARY_LIMIT = 1 << 20
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES, errno.EPERM, errno.ESTALE}
"""Error numbers that blame the disk, not the program."""


def run_title(folder: Path) -> str:
    """A run folder's name; for a sweep's point, whose folder is a number, the sweep's name too."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name.isdecimal() else folder.name


class RunDir:
    """The files of one run; the README describes them under "The run folder"."""

    def __init__(self, path: Path, lock: int | None = None, is_new: bool = False) -> None:
        self.path = path
        self.lock = lock
        "The open lock if this process has claimed the folder; child processes that inherit it hold the folder too."
        self.is_new = is_new
        "Whether this process made the folder."

    @property
    def config(self) -> Path:
        """The composed configuration."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, one subfolder per saved step."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The folder of the best weights and the tokenizer."""
        return self.path / "model"

    @property
    def summary(self) -> Path:
        """The final figures; the file exists once the run has finished."""
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        """The metrics, one row per logged step."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """The run's messages."""
        return self.path / "train.log"

    def read_summary(self) -> dict[str, Any] | None:
        """Read the summary of a finished run; None if the run has not finished.

        Raises:
            CheckpointError: the summary is damaged.
        """
        if not self.summary.exists():
            return None
        values = read_json(self.summary, SUMMARY_LIMIT)
        step, loss = values.get("step"), values.get("val/loss", 0.0)
        if type(step) is not int or isinstance(loss, bool) or not isinstance(loss, (int, float)):
            raise CheckpointError("it gives no step and val/loss", str(self.summary), "remove the file to run on")
        return values

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.yaml from the run's configuration as plain data."""
        write_text(self.config, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def write_summary(self, values: dict[str, Any]) -> None:
        """Write summary.json, whole or not at all."""
        write_text(self.summary, json.dumps(values, indent=2) + "\n")

    def require_space(self, checkpoint_bytes: int, keep: int) -> None:
        """Check that the disk can hold `keep` checkpoints, the best one, one being written, and the model.

        Raises:
            MachineError: the disk is too full; the error gives the needed and the free space.
        """
        held = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        needed = checkpoint_bytes * (keep + 2) - held
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise MachineError(
                f"{mb(free)} are free, and {keep + 2} checkpoints of {mb(checkpoint_bytes)} need {mb(needed)}",
                str(self.path),
                "free some space, choose another hydra.run.dir, or lower checkpoint.keep",
            )


@contextlib.contextmanager
def claimed_run(path: Path, must_be_new: bool = False) -> Iterator[RunDir]:
    """Claim the folder of a run for the block; if the block fails before a run begins there, leave no trace of it.

    Args:
        must_be_new: if the folder exists, take another with a number behind its name.

    Raises:
        MachineError: the folder cannot be written, or the disk fills later.
        UsageError: another process holds the folder.
    """
    with claimed(path, must_be_new) as claim:
        run_dir = RunDir(claim.path, claim.descriptor, bool(claim.made))
        try:
            with disk_errors(claim.path):
                files.remove_leftovers(run_dir.model)
                yield run_dir
        except BaseException:
            if run_dir.is_new and not run_dir.config.exists():
                run_dir.log.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def joined_run(path: Path) -> Iterator[RunDir]:
    """The folder of a run that another process has claimed for this one."""
    with disk_errors(path):
        yield RunDir(path)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn disk errors inside the block into a MachineError with advice."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        fix = "free some space or check the disk, then start again: the newest checkpoint is untouched"
        raise MachineError(f"cannot write ({error.strerror})", str(error.filename or path), fix) from error


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically: no reader sees half of it."""
    try:
        files.write(path, text)
    except OSError as error:
        raise MachineError(f"cannot write ({error.strerror})", str(path), "free some space and start again") from error
