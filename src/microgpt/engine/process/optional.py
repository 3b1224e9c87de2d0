"""Work that a run can do without: figures, samples, loggers, closing words. Imports the standard library alone."""

import contextlib
import logging
from collections.abc import Iterator

from microgpt.engine.process import signals
from microgpt.errors import MicrogptError
from microgpt.text import one_line

log = logging.getLogger("microgpt")


@contextlib.contextmanager
def optional(what: str, is_last: bool = True) -> Iterator[None]:
    """Warn and go on if the block fails.

    Args:
        what: the work, for the warning.
        is_last: whether nothing is left to train. Before, a disk error ends the run, which could not save either.
    """
    try:
        yield
    except Exception as error:
        # Foreign code may turn a signal into an error of its own.
        is_signal = isinstance(error, signals.Interrupted) or signals.received() is not None
        if is_signal or (isinstance(error, OSError) and not is_last):
            raise
        kind = "" if isinstance(error, MicrogptError) else f"{type(error).__name__}: "
        log.warning("warning: %s failed (%s%s); the run goes on without", what, kind, one_line(error, 300))
