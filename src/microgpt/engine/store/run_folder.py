"""The run folder: its names, its lock, its disk, and what state it is in. Needs no Lightning."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from microgpt import files
from microgpt.errors import CheckpointError, MachineError, MicrogptError, UsageError
from microgpt.model.files.untrusted import read_json
from microgpt.text import mb

SUMMARY_LIMIT = 1 << 20
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EACCES, errno.EPERM, errno.ESTALE}
"""Errors of a disk, not of a program."""


class RunDir:
    """The files of one run, see the README's "The run folder"."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config(self) -> Path:
        """The configuration as composed."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, one folder a step."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The folder of the best weights and the tokenizer."""
        return self.path / "model"

    @property
    def summary(self) -> Path:
        """The last figures; a run that has it has finished."""
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        """A row for each logged step."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """What the run has said."""
        return self.path / "train.log"

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a run that finished, else None.

        Raises:
            CheckpointError: it is damaged.
        """
        if not self.summary.exists():
            return None
        values = read_json(self.summary, SUMMARY_LIMIT)
        step, loss = values.get("step"), values.get("val/loss", 0.0)
        if type(step) is not int or isinstance(loss, bool) or not isinstance(loss, (int, float)):
            raise CheckpointError("it gives no step and val/loss", str(self.summary), "remove the file to run on")
        return values

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.yaml, from a run's configuration as plain data."""
        write_text(self.config, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def write_summary(self, values: dict[str, Any]) -> None:
        """Write summary.json whole or not at all."""
        write_text(self.summary, json.dumps(values, indent=2) + "\n")

    def create(self) -> list[Path]:
        """Make the folder and probe that it can be written; returns the folders that were made, outermost first.

        Raises:
            MachineError: when it cannot.
        """
        probe = self.path / ".probe"
        made = [path for path in (*reversed(self.path.parents), self.path) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            files.write(probe, b"\0" * 4096)
            probe.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
            remove_empty(made)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            fix = "free some space or " if full else ""
            fix += "choose a folder that you can write with hydra.run.dir=..."
            raise MachineError(f"cannot write ({error.strerror})", str(self.path), fix) from None
        return made

    def require_space(self, checkpoint_bytes: int, keep: int) -> None:
        """Refuse to start what the disk cannot hold: `keep` checkpoints, the best, one being written, and the model.

        Raises:
            MachineError: saying how much is needed and how much there is.
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
    def claimed(self) -> Iterator[None]:
        """Make the folder, hold it, and leave nothing behind when what is inside fails before it has begun a run.

        Raises:
            MachineError: the folder cannot be written, or the disk fills later.
            UsageError: another process holds it.
        """
        made = self.create()
        try:
            with self.lock(), disk_errors(self.path):
                files.remove_leftovers(self.path)
                yield
        except MicrogptError:
            if made and not self.config.exists():
                self.log.unlink(missing_ok=True)
                remove_empty(made)
            raise

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second run; the lock goes with the process, however it ends.

        Raises:
            UsageError: when another process holds it.
        """
        if os.name == "nt":
            yield
            return
        import fcntl

        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fix = "wait for it to end, or choose another hydra.run.dir"
                raise UsageError("another process is training", str(self.path), fix) from None
            except OSError:  # a file system without locks
                yield
                return
            yield
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a disk inside into a MachineError with advice."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        fix = "free some space or check the disk, then start again: the newest checkpoint is untouched"
        raise MachineError(f"cannot write ({error.strerror})", str(error.filename or path), fix) from error


def remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders, given outermost first, that are empty."""
    with contextlib.suppress(OSError):
        for folder in reversed(folders):
            folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is never seen half-written."""
    try:
        files.write(path, text)
    except OSError as error:
        raise MachineError(f"cannot write ({error.strerror})", str(path), "free some space and start again") from error
