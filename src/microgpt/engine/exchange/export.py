"""Export a trained model for other programs. The folder appears only after it reopens with matching logits."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microgpt import files
from microgpt.engine.exchange.formats import ExportFormat
from microgpt.engine.trained.run import Run
from microgpt.errors import MachineError, UsageError


def export(run: Run, out: Path, format: str | dict[str, Any] | ExportFormat = "hf") -> float:
    """Export a model in one of the export formats.

    Args:
        out: the folder to create, which must be absent or empty, or the file, which must be absent.
        format: a format's name, or a mapping of `name` and options: `{"name": "hf", "card": False}`.

    Returns:
        The largest difference between the model's logits and the exported model's.

    Raises:
        UsageError: the format is unknown or cannot express the model, or the folder is in use.
        CheckpointError: the exported model differs; nothing is left behind.
        MachineError: the folder cannot be written.
    """
    chosen = ExportFormat.choose(format)
    assert isinstance(chosen, ExportFormat)
    chosen.check_run(run)
    with (new_file if chosen.is_file else new_folder)(out) as hidden:
        return chosen.write(run, hidden)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Make a hidden folder beside `out`; rename it to `out` on success, remove it on failure."""
    exists = UsageError(f"{str(out)!r} exists", "OUT", "name a new folder, or an empty one")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise exists
    with disk_errors(out, exists), files.new_folder(out.absolute()) as hidden:
        yield hidden


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A hidden path beside `out`, which takes its name on success and is removed on failure."""
    exists = UsageError(f"{str(out)!r} exists", "OUT", "name a new file")
    if out.exists():
        raise exists
    with disk_errors(out, exists):
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(out.absolute()) as hidden:
            yield hidden


@contextmanager
def disk_errors(out: Path, exists: UsageError) -> Iterator[None]:
    """Turn the disk's errors within the context into a MachineError, or into `exists` if another command was sooner."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) and out.exists():
            raise exists from error
        fix = "make room, or choose a folder that can be written"
        raise MachineError(f"cannot write the export ({error})", str(out), fix) from error
