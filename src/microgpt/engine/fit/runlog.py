"""metrics.csv and TensorBoard: a Lightning logger that writes both into the run folder."""

import contextlib
import csv
import io
import threading
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from microgpt.engine.store.run_folder import write_text
from microgpt.engine.trained.metrics import Metric

TRAINING_COLUMNS = (
    "step",
    "tokens",
    "seconds",
    "train/loss",
    "train/grad_norm",
    "lr",
    "perf/tokens_per_second",
    "perf/mfu",
)


def columns() -> list[str]:
    """The columns of metrics.csv: those of training, then one for each metric of an evaluation."""
    return [*TRAINING_COLUMNS, *(f"val/{name}" for name in Metric.members)]


class RunLog(Logger):
    """Writes a row a logged step. Started again, it drops rows of steps that are about to be done again."""

    def __init__(self, folder: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.folder, self.resume_step = folder, resume_step
        self.columns = columns()
        self._writer: Any = None
        self._rows: Any = None
        self._excepthook = threading.excepthook

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def tensorboard(self) -> Any:
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
        """Write one row, and a TensorBoard point for each metric; those without a column go to TensorBoard alone."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._rows is None:
            self._open()
        row = {"step": step, **{name: f"{value:.8g}" for name, value in metrics.items() if name in self.columns}}
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([row.get(name, "") for name in self.columns])
        self._rows.write(line.getvalue().encode())
        shown = {name: value for name, value in metrics.items() if name not in ("step", "tokens", "seconds")}
        points = [Summary.Value(tag=name, simple_value=value) for name, value in shown.items()]
        self.tensorboard.file_writer.add_summary(Summary(value=points), step)  # one event, where add_scalar makes many

    def _open(self) -> None:
        path = self.folder / "metrics.csv"
        kept: list[list[str]] = []
        if self.resume_step and path.is_file():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                header, *rows = list(csv.reader(line.replace("\0", "") for line in file)) or [[]]
            # A row that was cut off by the end of the process is short.
            kept = [row for row in rows if len(row) == len(header) and _step(row) <= self.resume_step]
            if header != self.columns:  # a metric of the user's came or went
                kept = [[dict(zip(header, row, strict=True)).get(name, "") for name in self.columns] for row in kept]
        write_text(path, "".join(",".join(row) + "\n" for row in [self.columns, *kept]))
        self._rows = path.open("ab", buffering=0)  # without a buffer, what a full disk refused is not tried again

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration stands in config.yaml, and `hparams` writes it with the final metrics."""

    @rank_zero_only
    def hparams(self, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """TensorBoard's table of hyperparameters, with the final metrics beside them."""
        from torch.utils.tensorboard import summary

        shown = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in params.items()
        }
        for entry in summary.hparams(shown, dict(metrics)):  # type: ignore[no-untyped-call]
            self.tensorboard.file_writer.add_summary(entry)

    @rank_zero_only
    def close(self) -> None:
        """Close the files; the run writes its last lines after Lightning is done, so this is not `finalize`.

        Raises:
            OSError: TensorBoard's thread could not write.
        """
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.flush()  # which raises what its thread has met; closing alone would not
            finally:
                with contextlib.suppress(OSError):
                    writer.close()
                threading.excepthook = self._excepthook

    def abandon(self) -> None:
        """Close what can be closed, after another error."""
        with contextlib.suppress(Exception):
            self.close()


def _step(row: list[str]) -> float:
    return int(row[0]) if row[0].isdecimal() else float("inf")
