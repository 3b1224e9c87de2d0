"""Send the package's messages to the screen, and with the time to train.log. Imports neither torch nor Lightning."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from microgpt import streams
from microgpt.engine.process import cluster
from microgpt.text import printable

log = logging.getLogger("microgpt")


class Printable(logging.Formatter):
    """A formatter whose lines cannot drive a terminal, whatever a text, a name or a knob holds."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


class Screen(logging.StreamHandler[TextIO]):
    """A stream whose reader may leave (`| head`): the run goes on, without tracebacks on the screen."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


class LogFile(logging.FileHandler):
    """A log file that ends quietly on a full disk: a checkpoint or the metrics then end the run."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def logging_to(path: Path, quiet: bool = False) -> Iterator[None]:
    """Send the package's messages to stdout, and with the time to train.log at `path`. Only rank 0 logs.

    Args:
        quiet: show only warnings on stdout.
    """
    if not cluster.this_rank().is_first:
        log.propagate, before = False, log.propagate
        try:
            yield
        finally:
            log.propagate = before
        return
    with streams.forgiving(), _to_screen_and_file(path, quiet):
        yield


@contextlib.contextmanager
def _to_screen_and_file(path: Path, quiet: bool) -> Iterator[None]:
    screen = Screen(sys.stdout)
    screen.setLevel(logging.WARNING if quiet else logging.INFO)
    screen.setFormatter(Printable("%(message)s"))
    file = LogFile(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(Printable("%(asctime)s %(message)s"))
    previous = log.handlers, log.level, log.propagate
    try:
        log.setLevel(logging.DEBUG)
        log.handlers, log.propagate = [*log.handlers, screen, file], False
        yield
    finally:
        log.handlers, log.level, log.propagate = previous  # in one statement: a signal may arrive between statements
        file.close()
        screen.close()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the notices of Lightning and torch's compiler about things that they or this package do on purpose."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    for logger, _ in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message="The `srun` command is available")
            # The compiler looks whether a layer's input has a gradient. It hides this, unless warnings are errors.
            warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
            yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)
