"""The error for a run that does not exist. Imports nothing heavy: the commands answer before they load torch."""

import difflib
from pathlib import Path

from microgpt.errors import CheckpointError


def missing_run(path: Path) -> CheckpointError:
    """The error that names the folder with the nearest name, else the newest ones beside the missing one."""
    parent = path.parent if path.parent.is_dir() else Path()
    folders = [p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")]
    if meant := difflib.get_close_matches(path.name, [p.name for p in folders], n=1):
        return CheckpointError(f"no such run {str(path)!r}", "", f"did you mean {str(parent / meant[0])!r}?")
    newest = [p.name for p in sorted(folders, key=lambda p: (p.stat().st_mtime, p.name))][-3:]
    fix = f"{parent}/ has {', '.join(newest)}" if newest else "train one first: microgpt-train"
    return CheckpointError(f"no such run {str(path)!r}", "", fix)
