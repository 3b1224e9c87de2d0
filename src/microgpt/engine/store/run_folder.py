"""The run folder: file names, lock, disk checks and summary. Imports no Lightning."""

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
"""Error numbers that blame the disk, not the program."""


class RunDir:
    """The files of one run; the README describes them under "The run folder"."""

    def __init__(self, path: Path) -> None:
        self.path = path

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

    def create(self) -> list[Path]:
        """Create the folder and check that it is writable; return the created folders, outermost first.

        Raises:
            MachineError: the folder cannot be created or written.
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
    def claimed(self) -> Iterator[None]:
        """Create and lock the folder for the block; remove it again if the block fails before a run begins.

        Raises:
            MachineError: the folder cannot be written, or the disk fills later.
            UsageError: another process holds the lock.
        """
        made = self.create()
        try:
            with self.lock(), disk_errors(self.path):
                for folder in (self.path, self.model):
                    files.remove_leftovers(folder)
                yield
        except MicrogptError:
            if made and not self.config.exists():
                self.log.unlink(missing_ok=True)
                remove_empty(made)
            raise

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the folder against a second run. The lock ends with the process, however that ends.

        Raises:
            UsageError: another process holds the lock.
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
    """Turn disk errors inside the block into a MachineError with advice."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        fix = "free some space or check the disk, then start again: the newest checkpoint is untouched"
        raise MachineError(f"cannot write ({error.strerror})", str(error.filename or path), fix) from error


def remove_empty(folders: list[Path]) -> None:
    """Remove the empty ones among `folders`, which are listed outermost first."""
    with contextlib.suppress(OSError):
        for folder in reversed(folders):
            folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically: no reader sees half of it."""
    try:
        files.write(path, text)
    except OSError as error:
        raise MachineError(f"cannot write ({error.strerror})", str(path), "free some space and start again") from error
