"""Base class of the readers of other projects' checkpoints.

A new one is one file beside this one, or a file of your own that `microgpt-import --import mine.py` names.
"""

from pathlib import Path

from microgpt.data.tokenizer import Tokenizer
from microgpt.model import GPT
from microgpt.registry import Choice


class Importer(Choice, family="project"):
    """Base of the readers; a subclass with `name=` adds a project, its fields are the command's options."""

    def read(self, checkpoint: Path) -> tuple[GPT, Tokenizer]:
        """The model of a checkpoint, in eval mode, and its tokenizer. Nothing in the file is run.

        Raises:
            CheckpointError: it is no such checkpoint.
        """
        raise TypeError(f"{type(self).__name__} reads nothing")
