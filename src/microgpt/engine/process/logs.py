"""Where the package's messages go: the screen as they are, train.log with the time. Standard library alone."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from microgpt.engine.process import cluster

log = logging.getLogger("microgpt")


class Screen(logging.StreamHandler[TextIO]):
    """A reader that has left (`| head`) does not end a run, nor fill the screen with tracebacks."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class LogFile(logging.FileHandler):
    """A full disk ends a run where it matters, at a checkpoint or the metrics: train.log just ends."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Send the package's messages to stdout as they are, and to train.log with the time; rank 0 speaks for all."""
    if not cluster.this_rank().is_first:
        log.propagate, before = False, log.propagate
        try:
            yield
        finally:
            log.propagate = before
        return
    screen = Screen(sys.stdout)
    screen.setLevel(logging.INFO)
    screen.setFormatter(logging.Formatter("%(message)s"))
    file = LogFile(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    previous = log.handlers, log.level, log.propagate
    try:
        log.setLevel(logging.DEBUG)
        log.handlers, log.propagate = [*log.handlers, screen, file], False
        yield
    finally:
        log.handlers, log.level, log.propagate = previous  # in one go: a signal may come
        file.close()
        screen.close()


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notices about what this package does on purpose off the screen."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message="The `srun` command is available")
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
