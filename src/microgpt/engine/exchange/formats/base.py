"""Base class of the export formats.

To add a format, put a file beside this one, or name a file of your own in `microgpt-export --import mine.py`:

    class MineConfig(ExportFormat, name="mine"):
        '''One line for --help.'''

        precision: Literal["float32", "float16"] = "float32"
        "An option, given as --precision float16."

        def write(self, run, folder):
            ...
            return compare_logits(run.model, what_was_written)
"""

from pathlib import Path
from typing import ClassVar

from microgpt.engine.trained.run import Run
from microgpt.registry import Choice


class ExportFormat(Choice, family="export format"):
    """Base of the export formats; a subclass with `name=` adds one, and its fields are the format's options."""

    is_file: ClassVar[bool] = False
    "Whether the format is one file; `write` then gets its path instead of a folder's."

    def check_run(self, run: Run) -> None:
        """Refuse a model that the format cannot express, before creating a folder.

        Raises:
            UsageError: the format cannot express some knobs; the error names them.
        """

    def write(self, run: Run, folder: Path) -> float:
        """Write the model into the new, empty `folder` (or as the new file of this path, with `is_file`), reopen it and
        compare the two models.

        Returns:
            The largest difference of logits; see `check.compare_logits`.

        Raises:
            CheckpointError: the written model differs; the folder is then removed.
        """
        raise TypeError(f"{type(self).__name__} writes nothing")

    def next_step(self, out: Path) -> str:
        """One line on how to use the exported folder."""
        return f"see {out}"
