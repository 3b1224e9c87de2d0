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

from microgpt.text import printable

LAYOUT = {
    "loss": {"training and validation": ["Multiline", ["train/loss", "val/loss"]]},
    "scores": {"bits": ["Multiline", ["val/bpc", "val/bpb"]], "accuracy": ["Multiline", ["val/accuracy"]]},
    "optimization": {"learning rate": ["Multiline", ["lr"]], "gradient norm": ["Multiline", ["train/grad_norm"]]},
    "speed": {"tokens per second": ["Multiline", ["perf/tokens_per_second"]], "MFU": ["Multiline", ["perf/mfu"]]},
}
"""The run's scalars in groups, under TensorBoard's tab Custom Scalars."""
SETTINGS = "settings"
"""The text of the hyperparameters; TensorBoard sorts texts by name, and samples are to come first."""
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
        self._end: Any = None
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
        """Write the hyperparameters and the layout of the scalars as training begins, so that an interrupted run has
        them too.

        No run describes the experiment: TensorBoard then begins its table with the hyperparameters that differ between
        the runs, and takes the runs' own scalars for its figures. A description, which TensorBoard takes from any one
        run, would have it list them from A to Z. A text lists them in the order given.
        """
        values = vars(params) if isinstance(params, Namespace) else params
        shown = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in values.items()
        }
        now = time.time()

        def write(writer: Any) -> None:
            from torch.utils.tensorboard import summary

            _, start, self._end = summary.hparams(shown, {})  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(start)
            writer.add_custom_scalars(LAYOUT)
            writer.add_text(SETTINGS, table(shown), 0, now)

        self._write(write)

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
                if status == "success" and self._end is not None:
                    writer.file_writer.add_summary(self._end)
                writer.flush()  # raises the thread's error; closing alone would not
            finally:
                with contextlib.suppress(OSError):
                    writer.close()
                threading.excepthook = self._excepthook


def table(values: Mapping[str, Any]) -> str:
    """Hyperparameters as a Markdown table, in their order."""
    rows = (f"| {key} | {printable(str(value)).replace('|', '&#124;')} |" for key, value in values.items())
    return "\n".join(["| hyperparameter | value |", "|---|---|", *rows])
