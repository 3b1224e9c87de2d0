"""The error that ended a child process, left in its run folder for the process that waits. Imports no torch."""

import contextlib
import json
from pathlib import Path

from microgpt import files
from microgpt.errors import CheckpointError, DataError, MachineError, MicrogptError, NonFiniteError, UsageError
from microgpt.text import one_line

ERRORS = ".error-*.json"
"""The files of all ranks."""
MOST = 1 << 20
"""Largest size of such a file, in bytes."""
KINDS = {kind.exit_code: kind for kind in (UsageError, DataError, CheckpointError, MachineError, NonFiniteError)}


def leave_error(path: Path, rank: int, error: Exception) -> None:
    """Write the error that ended a rank into the run folder, for the process that waits for the rank."""
    if isinstance(error, MicrogptError):
        left = {"exit_code": error.exit_code, "what": error.what, "at": error.where, "fix": error.fix}
    else:
        what = f"{type(error).__name__}: {one_line(error, 500)}"
        left = {"exit_code": 1, "what": what, "at": "", "fix": ""}
    with contextlib.suppress(OSError):  # a full disk must not hide the error itself
        files.write(path / f".error-{rank}.json", json.dumps(left))


def read_error(path: Path, rank: int = 0) -> MicrogptError | None:
    """Read the error that a rank left in the run folder, if any."""
    try:
        left = files.read_json(path / f".error-{rank}.json", MOST)
        return KINDS.get(left["exit_code"], MicrogptError)(str(left["what"]), str(left["at"]), str(left["fix"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
