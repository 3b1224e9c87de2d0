"""The error for a run that does not exist. Imports nothing heavy: the commands answer before they load torch."""

from pathlib import Path

from microgpt.errors import CheckpointError


def missing_run(path: Path) -> CheckpointError:
    """The error that names the last folders beside the missing one."""
    parent = path.parent if path.parent.is_dir() else Path()
    near = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))[-3:]
    fix = f"{parent}/ has {', '.join(near)}" if near else "train one first: microgpt-train"
    return CheckpointError(f"no such run {str(path)!r}", "", fix)
