"""Signals stop a run at a step boundary: a handler only sets a flag. Standard library alone.

While nothing would be lost a signal raises `Stopped` at once. From the first finished step on (`defer`) it is noted:
the training loop asks for it after each step, evaluation and sampling ask as they go and give way (`Interrupted`).
A second Ctrl-C leaves immediately. However a signal ends what `handled` surrounds, the `Farewell` is said: one place
for all ways out.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Stopped(BaseException):
    """The process was asked to stop by signal `number`; the exit code is 128 + number.

    Args:
        by_all: all ranks of the run stop for it together; else the others may not have noticed.
    """

    def __init__(self, number: int, by_all: bool = False) -> None:
        super().__init__(number, by_all)
        self.number, self.by_all = number, by_all

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Work that can be done again later gives way to a signal that has been noted."""


class Farewell:
    """What a signal that stops us leaves the user with."""

    def __str__(self) -> str:
        """How to go on, in one line."""
        return ""

    def say(self, stopped: Stopped) -> None:
        """Say it, and do what else is to be done; no signal interrupts this."""


class _State:
    deferred = False
    leaving = False
    received: int | None = None
    interrupts = 0
    farewell: Farewell | None = None


@contextlib.contextmanager
def handled(farewell: Farewell | None = None) -> Iterator[None]:
    """While inside, in the main thread, signals are ours; afterwards the handlers are what they were before.

    Args:
        farewell: said, once, before `Stopped` leaves; where one has been given further out, that one is.

    Where Python cannot raise, as in a destructor, a signal is noted.

    Raises:
        Stopped: at once, or at the end for a signal that was noted and that nobody acted on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if handlers[signal.SIGINT] is not _handle:
        _State.received, _State.interrupts, _State.farewell = None, 0, None
    _State.farewell = _State.farewell or farewell
    was_deferred, _State.deferred = _State.deferred, False
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = lambda said: None if said.exc_type is Stopped else hook(said)
        install()
        yield
        _State.leaving = True
        if _State.received is not None:
            raise Stopped(_State.received)
    except GeneratorExit:  # the signal came between the end of the block and here: see `last_words`
        raise
    except BaseException as error:
        _State.leaving = True
        stopped = error if isinstance(error, Stopped) else None
        if stopped is None and _State.received is not None and not _State.deferred:
            # Foreign code that the signal fell into (safetensors, say) has made an error of its own out of `Stopped`.
            stopped = Stopped(_State.received)
        if stopped is None:
            raise
        last_words(stopped)
        raise stopped from (error.__cause__ if stopped is error else error)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
        _State.deferred, _State.leaving = was_deferred, False


def last_words(stopped: Stopped) -> None:
    """Say the farewell unless that has been done; for whoever catches `Stopped` outside of `handled`.

    A `with` statement has an instant, before it tells its block's end, at which a signal escapes it.
    """
    farewell, _State.farewell = _State.farewell, None
    if farewell is not None:
        with contextlib.suppress(Exception):  # words that cannot be said change nothing about the end
            farewell.say(stopped)


def at_stop(farewell: Farewell | None) -> None:
    """Replace the farewell, as more is known about how to go on; None when there is nothing left to say."""
    if threading.current_thread() is threading.main_thread():
        _State.farewell = farewell


def farewell() -> Farewell | None:
    """What would be said now."""
    return _State.farewell


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


def _handle(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        _State.interrupts += 1
        if _State.interrupts > 1:
            os.write(2, f"\nmicrogpt: left at once, without saving; {_words()}\n".encode(errors="replace"))
            os._exit(128 + number)
    first = _State.received is None
    if first:
        _State.received = number
    if _State.leaving:
        return
    if not _State.deferred:
        raise Stopped(number)
    if first:
        os.write(2, f"\nmicrogpt: {signal.Signals(number).name}: stopping after this step\n".encode())


def _words() -> str:
    with contextlib.suppress(Exception):
        return str(_State.farewell or "")
    return ""
