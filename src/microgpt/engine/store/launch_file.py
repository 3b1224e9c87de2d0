"""Launch files, which tell a child process in its run folder how to train.

The configuration is composed and checked before it is written. A job therefore trains the configuration composed at
submission, however long it is queued and however the YAML changes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microgpt import files
from microgpt.engine.store.left_error import ERRORS
from microgpt.engine.store.run_folder import write_text
from microgpt.errors import CheckpointError

LAUNCH = ".launch.json"
MOST = 1 << 24
"""Largest size of a launch file, in bytes."""


@dataclass(frozen=True)
class Launch:
    """The contents of a launch file.

    Attributes:
        config: the run's configuration from `RunConfig.to_dict`.
        imports: modules and files that register the user's own parts.
        arguments: the command line, for the hint on how to go on after a signal.
    """

    config: dict[str, Any]
    imports: Sequence[str]
    arguments: Sequence[str]


def write_launch(path: Path, launch: Launch) -> None:
    """Write the launch file into the folder `path`, and remove the errors of an earlier try."""
    path.mkdir(parents=True, exist_ok=True)
    forget_launch(path)
    write_text(path / LAUNCH, json.dumps(asdict(launch)))


def read_launch(path: Path) -> Launch:
    """Read the launch file of the run folder `path`.

    Raises:
        CheckpointError: the file is missing or unreadable.
    """
    try:
        values = files.read_json(path / LAUNCH, MOST)
        return Launch(dict(values["config"]), list(values["imports"]), list(values["arguments"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"no launch file that can be read ({error})", str(path), "start it with microgpt-train"
        ) from None


def launched_config(path: Path) -> dict[str, Any] | None:
    """Read the configuration in a folder's launch file, as plain data; None without a readable launch file."""
    try:
        return read_launch(path).config
    except CheckpointError:
        return None


def is_point(path: Path) -> bool:
    """Whether the run folder is a point of a sweep: it is launched from a file, and its name is a number."""
    return path.name.isdecimal() and (path / LAUNCH).is_file()


def forget_launch(path: Path) -> None:
    """Remove the launch file and the errors of an earlier try."""
    for old in (path / LAUNCH, *path.glob(ERRORS)):
        old.unlink(missing_ok=True)
