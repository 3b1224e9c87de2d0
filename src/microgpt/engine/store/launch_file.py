"""What a child process is to train, written into its run folder, and the error that it leaves there.

The configuration is composed and checked before it is written: what was composed when a job was submitted is what the
job trains, however long it is queued and whatever becomes of the YAML.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microgpt import files
from microgpt.engine.store.run_folder import write_text
from microgpt.errors import CheckpointError, DataError, MachineError, MicrogptError, NonFiniteError, UsageError
from microgpt.text import one_line

LAUNCH = ".launch.json"
MOST = 1 << 24
"""The most bytes that such a file may have."""
KINDS = {kind.exit_code: kind for kind in (UsageError, DataError, CheckpointError, MachineError, NonFiniteError)}


@dataclass(frozen=True)
class Launch:
    """What is to be trained.

    Attributes:
        config: of the run, as `RunConfig.to_dict` gives it.
        imports: modules and files that register parts of the user's own.
        arguments: the command line, to say how to go on after a signal.
    """

    config: dict[str, Any]
    imports: Sequence[str]
    arguments: Sequence[str]


def write_launch(path: Path, launch: Launch) -> None:
    """Write down what is to be trained in the folder `path`; the errors of an earlier try go."""
    path.mkdir(parents=True, exist_ok=True)
    forget_launch(path)
    write_text(path / LAUNCH, json.dumps(asdict(launch)))


def read_launch(path: Path) -> Launch:
    """What was written down for the run folder `path`.

    Raises:
        CheckpointError: nothing was, or it cannot be read.
    """
    try:
        values = files.read_json(path / LAUNCH, MOST)
        return Launch(dict(values["config"]), list(values["imports"]), list(values["arguments"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"no launch to go by ({error})", str(path), "start it with microgpt-train") from None


def launched_config(path: Path) -> dict[str, Any] | None:
    """The configuration that was written down in a folder, as plain data; None where there is none."""
    try:
        return read_launch(path).config
    except CheckpointError:
        return None


def forget_launch(path: Path) -> None:
    """Remove what was written down, and the errors of an earlier try."""
    for old in (path / LAUNCH, *path.glob(".error-*.json")):
        old.unlink(missing_ok=True)


def leave_error(path: Path, rank: int, error: Exception) -> None:
    """Leave the error that ended a rank in its run folder, for the process that waits for it."""
    if isinstance(error, MicrogptError):
        left = {"exit_code": error.exit_code, "what": error.what, "at": error.where, "fix": error.fix}
    else:
        what = f"{type(error).__name__}: {one_line(error, 500)}"
        left = {"exit_code": 1, "what": what, "at": "", "fix": ""}
    with contextlib.suppress(OSError):  # a full disk must not hide the error itself
        files.write(path / f".error-{rank}.json", json.dumps(left))


def read_error(path: Path, rank: int = 0) -> MicrogptError | None:
    """The error that a rank left in its run folder, if it did."""
    try:
        left = files.read_json(path / f".error-{rank}.json", MOST)
        return KINDS.get(left["exit_code"], MicrogptError)(str(left["what"]), str(left["at"]), str(left["fix"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
