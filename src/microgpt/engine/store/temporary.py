"""The folder of a run that is to live no longer than the program's object."""

import tempfile
from pathlib import Path

PREFIX = "microgpt-fit-"


def is_temporary(folder: Path) -> bool:
    """Whether the folder goes when its run does."""
    return folder.name.startswith(PREFIX) and folder.parent == Path(tempfile.gettempdir())
