"""Standard streams that may be missing, closed, full, or ASCII alone. Imports the standard library alone.

Under cron, or after `>&-`, there is no standard output: `sys.stdout` is None, and the next file that is opened gets its
descriptor, so that whatever a library writes there lands in the file. A stream may also fail later: its reader leaves,
or the disk behind it fills.

A command whose product is its output fails with the stream. A command whose product is on disk goes on without it.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

FAILURES = (OSError, ValueError)
"""Errors of a stream: its device refuses, or Python has closed it."""


def open_descriptors() -> None:
    """Open /dev/null in place of each closed standard descriptor, for this process and its children.

    A process calls this once, before it opens files.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(number, True)
            else:
                os.dup2(null, number)
                os.close(null)


@contextlib.contextmanager
def usable() -> Iterator[None]:
    """Give the block an output and an error stream that exist and take any character; errors of stderr are dropped."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as null:  # noqa: PTH123 - Path has no os.devnull
        out, err = (null if is_missing(stream) else stream for stream in before)
        for stream in (out, err):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = out, cast(TextIO, Forgiving(err))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def forgiving() -> Iterator[None]:
    """Let the block go on when the standard output fails; stderr gets one warning, unless the reader has just left."""
    before = sys.stdout
    sys.stdout = cast(TextIO, Forgiving(before, "the standard output"))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout = before


class Forgiving:
    """A stream that drops what it cannot write.

    Args:
        stream: the stream to write to; None drops everything.
        name: how a warning on stderr names the stream when it fails; without a name there is no warning.
    """

    def __init__(self, stream: TextIO | None, name: str = "") -> None:
        self.stream, self.name, self.is_lost = stream, name, is_missing(stream)

    def write(self, text: str) -> int:
        """Write a text, escaping the characters that the stream cannot encode; return the text's length."""
        if not self.is_lost and self.stream is not None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError as error:
                self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
            except FAILURES as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        if not self.is_lost and self.stream is not None:
            try:
                self.stream.flush()
            except FAILURES as error:
                self._lose(error)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return is_terminal(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _lose(self, error: Exception) -> None:
        self.is_lost = True
        silence(self.stream)
        if self.name and not isinstance(error, BrokenPipeError):
            why = getattr(error, "strerror", None) or str(error)
            warn(f"microgpt: warning: cannot write to {self.name} ({why}); its messages are dropped from here on")


def is_missing(stream: TextIO | None) -> bool:
    """Whether there is no stream to write to."""
    return stream is None or bool(getattr(stream, "closed", False))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream exists and is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except (*FAILURES, AttributeError):
        return False


def warn(line: str, end: str = "\n") -> None:
    """Print a line to stderr, if there is one that takes it."""
    if not is_missing(sys.stderr):  # print would take the standard output instead
        with contextlib.suppress(*FAILURES):
            print(line, end=end, file=sys.stderr, flush=True)


def flush() -> None:
    """Flush both output streams; drop what they refuse, so that Python does not fail at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if not is_missing(stream):
                stream.flush()
        except FAILURES:
            silence(stream)


def silence(stream: TextIO | None) -> None:
    """Discard a stream's buffered output and whatever follows."""
    with contextlib.suppress(*FAILURES, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())  # type: ignore[union-attr]
        finally:
            os.close(null)
