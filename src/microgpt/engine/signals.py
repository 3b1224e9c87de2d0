"""Signals stop a run at a step boundary: a handler only sets a flag. Standard library alone.

While nothing would be lost a signal raises `Stopped` at once. From the first finished step on (`defer`) it is noted:
the training loop asks for it after each step, evaluation and sampling ask as they go and give way (`Interrupted`).
A second Ctrl-C leaves immediately.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Stopped(BaseException):
    """The process was asked to stop by signal `number`; the exit code is 128 + number.

    Args:
        advice: how to go on, for the user.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(number, advice)
        self.number, self.advice = number, advice

    def __str__(self) -> str:
        text = f"stopped by {signal.Signals(self.number).name}"
        return f"{text}; {self.advice}" if self.advice else text


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Work that can be done again later gives way to a signal that has been noted."""


class _State:
    deferred = False
    received: int | None = None
    interrupts = 0


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """While inside, in the main thread, signals are ours; afterwards the handlers are what they were before.

    Raises:
        Stopped: at once, or at the end for a signal that was noted and that nobody acted on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if handlers[signal.SIGINT] is not _handle:
        _State.received, _State.interrupts = None, 0
    was_deferred, _State.deferred = _State.deferred, False
    install()
    try:
        yield
        if _State.received is not None:
            raise Stopped(_State.received)
    except Exception as error:
        if _State.received is not None and not _State.deferred:
            # Foreign code that the signal fell into (safetensors, say) has made an error of its own out of `Stopped`.
            raise Stopped(_State.received) from error
        raise
    finally:
        _State.deferred = was_deferred
        for number, handler in handlers.items():
            signal.signal(number, handler)


def install() -> None:
    """Put the handlers (back) in place, in the main thread; elsewhere signals are left as they are."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def defer(yes: bool = True) -> None:
    """From now on, until `handled` ends, signals are noted and not raised; or raised again."""
    _State.deferred = yes


def received() -> int | None:
    """The number of the signal that came, if one did."""
    return _State.received


def give_way() -> None:
    """To be called in the loops of work that can be done again.

    Raises:
        Interrupted: when a signal has been noted.
    """
    if _State.deferred and _State.received is not None:
        raise Interrupted


def _handle(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        _State.interrupts += 1
        if _State.interrupts > 1:
            os.write(2, b"\nmicrogpt: left at once, without saving\n")
            os._exit(128 + number)
    first = _State.received is None
    if first:
        _State.received = number
    if not _State.deferred:
        raise Stopped(number)
    if first:
        os.write(2, f"\nmicrogpt: {signal.Signals(number).name}: stopping after this step\n".encode())
