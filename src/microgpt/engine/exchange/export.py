"""Write a trained model for other programs. The folder appears once it was opened again and its logits match."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from microgpt import files
from microgpt.engine.exchange.formats import ExportFormat
from microgpt.engine.trained.run import Run
from microgpt.errors import MachineError, UsageError


def export(run: Run, out: Path, format: str | dict[str, Any] | ExportFormat = "hf") -> float:
    """Write a model in one of the export formats.

    Args:
        out: the folder to make; it must be absent or empty.
        format: a format's name, or a mapping of `name` and options: `{"name": "hf", "card": False}`.

    Returns:
        The largest difference between the logits of the model and those of what was written.

    Raises:
        UsageError: there is no such format, it cannot hold the model, or the folder is in use.
        CheckpointError: what was written is not the model; nothing is left behind.
        MachineError: it cannot be written.
    """
    chosen = ExportFormat.choose(format)
    assert isinstance(chosen, ExportFormat)
    chosen.check_run(run)
    with new_folder(out) as folder:
        return chosen.write(run, folder)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out`, which takes its name when all went well and is removed when not."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists", "OUT", "name a new folder, or an empty one")
    try:
        with files.new_folder(out.absolute()) as hidden:
            yield hidden
    except OSError as error:
        fix = "make room, or choose a folder that can be written"
        raise MachineError(f"cannot write the export ({error})", str(out), fix) from error
