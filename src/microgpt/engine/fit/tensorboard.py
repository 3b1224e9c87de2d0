"""TensorBoard's events in the run folder, as a Lightning logger."""

import contextlib
import threading
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

NOT_SHOWN = ("step", "tokens", "seconds")
"""Metrics that TensorBoard draws as an axis or not at all."""


class TensorBoardLog(Logger):
    """Writes one event a logged step. Started again, it hides events of steps that are about to be done again."""

    def __init__(self, folder: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.folder, self.resume_step = folder, resume_step
        self._writer: Any = None
        self._excepthook = threading.excepthook

    @property
    def name(self) -> str:
        return "tensorboard"

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> Any:
        """The `SummaryWriter`, made on first use."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.resume_step + 1 if self.resume_step else None
            self._excepthook, threading.excepthook = threading.excepthook, self._quietly
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
        return self._writer

    def _quietly(self, failure: threading.ExceptHookArgs) -> None:
        """A full disk ends TensorBoard's thread; its next call here raises the error, so that it needs no traceback."""
        if not isinstance(failure.exc_value, OSError):
            self._excepthook(failure)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a point for each metric, all in one event, where `add_scalar` makes one event each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=name, simple_value=x) for name, x in metrics.items() if name not in NOT_SHOWN]
        self.experiment.file_writer.add_summary(Summary(value=points), step)

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Show a text in Markdown."""
        self.experiment.add_text(tag, text, step)

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        """Show a matplotlib figure."""
        self.experiment.add_figure(tag, figure, step)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing at the start: `add_hparams` writes them with the final metrics beside them."""

    def add_hparams(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the table of hyperparameters with the final metrics."""
        from torch.utils.tensorboard import summary

        shown = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in params.items()
        }
        for entry in summary.hparams(shown, dict(metrics)):  # type: ignore[no-untyped-call]
            self.experiment.file_writer.add_summary(entry)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the events file.

        Raises:
            OSError: TensorBoard's thread could not write.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.flush()  # which raises what its thread has met; closing alone would not
            finally:
                with contextlib.suppress(OSError):
                    writer.close()
                threading.excepthook = self._excepthook
