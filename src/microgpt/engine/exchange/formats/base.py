"""Base class of the export formats.

A new format is one file beside this one, or a file of your own that `microgpt-export --import mine.py` names:

    class MineConfig(ExportFormat, name="mine"):
        '''One line for --help.'''

        precision: Literal["float32", "float16"] = "float32"
        "An option, given as --precision float16."

        def write(self, run, folder):
            ...
            return compare_logits(run.model, what_was_written)
"""

from pathlib import Path

from microgpt.engine.trained.run import Run
from microgpt.registry import Choice


class ExportFormat(Choice, family="export format"):
    """Base of the export formats; a subclass with `name=` adds one, its fields are the format's options."""

    def check_run(self, run: Run) -> None:
        """Refuse a model that the format cannot hold, before a folder is made.

        Raises:
            UsageError: naming the knobs in the way.
        """

    def write(self, run: Run, folder: Path) -> float:
        """Write the model into the new, empty `folder`, open what was written and compare it with the model.

        Returns:
            The largest difference of a logit; see `check.compare_logits`.

        Raises:
            CheckpointError: what was written is not the model; the folder is then removed.
        """
        raise TypeError(f"{type(self).__name__} writes nothing")

    def next_step(self, out: Path) -> str:
        """What to do with the exported folder, in a line."""
        return f"see {out}"
