"""Signals stop a run at a step boundary: a handler only sets a flag. Standard library alone.

Outside training a signal raises `Stopped` at once, as there is nothing to save. During training (`deferred`) it is
noted, and the training loop asks for it after each optimizer step. A second Ctrl-C leaves immediately.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Stopped(BaseException):
    """The process was asked to stop by signal `number`; the exit code is 128 + number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    deferred = False
    received: int | None = None


def install() -> None:
    """Install the handlers, in the main thread; elsewhere signals are left as they are."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def received() -> int | None:
    """The number of the signal that came during `deferred`, if one did."""
    return _State.received


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """While inside, signals are noted instead of raised; afterwards the handlers are what they were before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    was_deferred, _State.deferred, _State.received = _State.deferred, True, None
    install()
    try:
        yield
    finally:
        _State.deferred = was_deferred
        for number, handler in previous.items():
            signal.signal(number, handler)


def _handle(number: int, frame: FrameType | None) -> None:
    if not _State.deferred:
        raise Stopped(number)
    if number == signal.SIGINT and _State.received == signal.SIGINT:
        os.write(2, b"\nmicrogpt: left at once, without saving\n")
        os._exit(128 + number)
    if _State.received is None:
        name = signal.Signals(number).name
        os.write(2, f"\nmicrogpt: {name}: stopping after this step\n".encode())
        _State.received = number
