"""The run folder: its names, its lock, and what state it is in. Standard library alone."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from microgpt.errors import CheckpointError, MachineError, UsageError


class RunDir:
    """The files of one run, see the README's "The run folder"."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    def read_summary(self) -> dict[str, Any] | None:
        """The summary of a run that finished, else None."""
        try:
            values = json.loads(self.summary.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read it ({error})", str(self.summary), "remove the file to run on") from None
        return dict(values)

    def write_summary(self, values: dict[str, Any]) -> None:
        """Write summary.json whole or not at all."""
        write_text(self.summary, json.dumps(values, indent=2) + "\n")

    def create(self) -> None:
        """Make the folder and probe that it can be written.

        Raises:
            MachineError: when it cannot.
        """
        probe = self.path / ".probe"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        except OSError as error:
            fix = "choose a folder that you can write with hydra.run.dir=..."
            raise MachineError(f"cannot write ({error.strerror})", str(self.path), fix) from None

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


def write_text(path: Path, text: str) -> None:
    """Write a small file so that it is never seen half-written."""
    hidden = path.with_name(f".tmp-{path.name}")
    try:
        with hidden.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise MachineError(f"cannot write ({error.strerror})", str(path), "free some space and start again") from error
