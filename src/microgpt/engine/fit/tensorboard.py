"""A Lightning logger that writes TensorBoard events into the run folder."""

import contextlib
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

NOT_SHOWN = ("step", "tokens", "seconds")
"""Metrics that TensorBoard shows as an axis or not at all."""
DELAY = 5.0
"""Seconds for which the first events are kept: importing TensorBoard holds up no first step, and no short run."""


class TensorBoardLog(Logger):
    """Write one event per logged step. A resumed run hides the events of steps that it will repeat."""

    def __init__(self, folder: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.folder, self.resume_step = folder, resume_step
        self._writer: Any = None
        self._began = time.monotonic()
        self._kept: list[Callable[[Any], object]] = []
        self._excepthook = threading.excepthook

    @property
    def name(self) -> str:
        return "tensorboard"

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> Any:
        """The `SummaryWriter`, created on first use."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.resume_step + 1 if self.resume_step else None
            self._excepthook, threading.excepthook = threading.excepthook, self._quietly
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
        kept, self._kept = self._kept, []
        for write in kept:
            write(self._writer)
        return self._writer

    def _write(self, write: Callable[[Any], object]) -> None:
        """Call `write` with the writer, in order, now or later."""
        self._kept.append(write)
        if self._writer is not None or time.monotonic() - self._began > DELAY:
            _ = self.experiment

    def _quietly(self, failure: threading.ExceptHookArgs) -> None:
        """Print no traceback when a full disk ends TensorBoard's thread: the next call here raises the error."""
        if not isinstance(failure.exc_value, OSError):
            self._excepthook(failure)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write all metrics in one event; `add_scalar` would write one event each."""
        shown, now = {name: x for name, x in metrics.items() if name not in NOT_SHOWN}, time.time()

        def write(writer: Any) -> None:
            from tensorboard.compat.proto.summary_pb2 import Summary

            points = [Summary.Value(tag=name, simple_value=x) for name, x in shown.items()]
            writer.file_writer.add_summary(Summary(value=points), step, now)

        self._write(write)

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Show a Markdown text."""
        now = time.time()
        self._write(lambda writer: writer.add_text(tag, text, step, now))

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        """Show a matplotlib figure."""
        now = time.time()
        self._write(lambda writer: writer.add_figure(tag, figure, step, walltime=now))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Write nothing yet: `add_hparams` writes the hyperparameters with the final metrics."""

    def add_hparams(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the hyperparameters and the final metrics as a table."""
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
        writer = self.experiment if self._kept else self._writer
        self._writer = None
        if writer is not None:
            try:
                writer.flush()  # raises the thread's error; closing alone would not
            finally:
                with contextlib.suppress(OSError):
                    writer.close()
                threading.excepthook = self._excepthook
