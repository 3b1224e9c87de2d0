"""A run's record: metrics.csv, which every run writes, and the loggers that `logger=` chooses."""

import contextlib
import csv
import io
from argparse import Namespace
from collections.abc import Mapping, Sequence
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
    """The columns of metrics.csv: the training columns, then one for each evaluation metric."""
    return [*TRAINING_COLUMNS, *(f"val/{name}" for name in Metric.members)]


class RunLog(Logger):
    """Write one row of metrics.csv per logged step, and forward everything to the chosen loggers.

    It is the trainer's only logger, so Lightning's callbacks reach every logger through it. A resumed run drops the
    rows of steps that it will repeat.

    Args:
        resume_step: optimizer steps already made.
        loggers: the loggers of rank 0; other ranks have none.
        more: columns after those of every run.
    """

    def __init__(
        self, folder: Path, resume_step: int = 0, loggers: Sequence[Logger] = (), more: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.folder, self.resume_step, self.loggers = folder, resume_step, loggers
        self.columns = [*columns(), *more]
        self._rows: Any = None

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the metrics that have a column as one row, and give all metrics to the loggers."""
        if not metrics.keys().isdisjoint(self.columns):
            if self._rows is None:
                self._open()
            row = {"step": step, **{name: f"{value:.8g}" for name, value in metrics.items() if name in self.columns}}
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow([row.get(name, "") for name in self.columns])
            self._rows.write(line.getvalue().encode())
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step)

    def _open(self) -> None:
        path = self.folder / "metrics.csv"
        kept: list[list[str]] = []
        if self.resume_step and path.is_file():
            with path.open(newline="", encoding="utf-8", errors="replace") as file:
                header, *rows = list(csv.reader(line.replace("\0", "") for line in file)) or [[]]
            # A row is short if the process ended while writing it.
            kept = [row for row in rows if len(row) == len(header) and _step(row) <= self.resume_step]
            if header != self.columns:  # the user added or removed a metric
                kept = [[dict(zip(header, row, strict=True)).get(name, "") for name in self.columns] for row in kept]
        write_text(path, "".join(",".join(row) + "\n" for row in [self.columns, *kept]))
        self._rows = path.open("ab", buffering=0)  # unbuffered: a write that a full disk refused is not retried

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Give the configuration to the loggers; the run folder has it in config.yaml."""
        for logger in self.loggers:
            logger.log_hyperparams(params)

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Give a Markdown text to the loggers that take texts."""
        self._offer("add_text", tag, text, step)

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        """Give a matplotlib figure to the loggers that take figures."""
        self._offer("add_figure", tag, figure, step)

    @property
    def takes_figures(self) -> bool:
        """Whether a logger takes figures."""
        return any(hasattr(logger, "add_figure") for logger in self.loggers)

    @rank_zero_only
    def _offer(self, method: str, *arguments: Any) -> None:
        for logger in self.loggers:
            if (take := getattr(logger, method, None)) is not None:
                take(*arguments)

    @rank_zero_only
    def close(self, status: str = "success") -> None:
        """Close the file and finalize the loggers; the run logs its last metrics after Lightning's `finalize`.

        Raises:
            OSError: a logger could not write.
        """
        rows, self._rows = self._rows, None
        loggers, self.loggers = self.loggers, ()
        with contextlib.ExitStack() as stack:  # finalize each, even if another raises
            for logger in reversed(loggers):
                stack.callback(logger.finalize, status)
            if rows is not None:
                rows.close()

    def abandon(self, status: str) -> None:
        """Close whatever can be closed, after another error ("failed") or a signal ("aborted")."""
        with contextlib.suppress(Exception):
            self.close(status)


def _step(row: list[str]) -> float:
    return int(row[0]) if row[0].isdecimal() else float("inf")
