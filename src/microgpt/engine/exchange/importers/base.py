"""Base class of the importers of other projects' checkpoints.

To add an importer, put a file beside this one, or name a file of your own in `microgpt-import --import mine.py`.
"""

from pathlib import Path

from microgpt.data.tokenizer import Tokenizer
from microgpt.model import GPT
from microgpt.registry import Choice


class Importer(Choice, family="project"):
    """Base of the importers; a subclass with `name=` adds a project, and its fields are the command's options."""

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        """Read a checkpoint's model, in eval mode, and its tokenizer, without running code from the file.

        Raises:
            CheckpointError: the file is not a checkpoint of this project.
        """
        raise TypeError(f"{type(self).__name__} reads nothing")
