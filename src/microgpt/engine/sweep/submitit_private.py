"""All uses of submitit (https://github.com/facebookincubator/submitit), which declares no public API."""

from typing import Any

from microgpt.engine.process.private_names import private_name
from microgpt.errors import MachineError

CHECKED = ">=1.5.3"
"""Versions of submitit known to have these names."""
NAMES = (
    ("submitit", "AutoExecutor"),
    ("submitit.helpers", "DelayedSubmission"),
)


def slurm_executor(folder: str, max_num_timeout: int) -> Any:
    """Make a submitit executor that submits to SLURM.

    Args:
        folder: folder for submitit's files.
        max_num_timeout: how often submitit itself may requeue a job.

    Raises:
        MachineError: submitit is not installed, or lacks a name.
    """
    try:
        import submitit  # noqa: F401 - a missing package needs another fix than a missing name
    except ImportError:
        raise MachineError("no package submitit", "", "pip install 'microgpt[slurm]'") from None
    return _get(0)(folder, cluster="slurm", slurm_max_num_timeout=max_num_timeout)


def submit_again(function: Any, *arguments: Any) -> Any:
    """The value that a function's `checkpoint` returns to make submitit requeue it with these arguments."""
    return _get(1)(function, *arguments)


def _get(index: int) -> Any:
    return private_name("submitit", CHECKED, *NAMES[index])
