"""Signals stop a run at a step boundary; the handler only sets a flag. Imports the standard library alone.

As long as nothing can be lost, a signal raises `Stopped` at once. After the first finished step (`defer`) the handler
records it instead. The training loop checks the record after each step; evaluation and sampling check it as they go
and give way (`Interrupted`). A second Ctrl-C exits immediately. However a signal ends the block of `handled`, `handled`
prints the `Farewell`: one place for every way out.
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
    """Signal `number` asks the process to stop; the exit code is 128 + number.

    Args:
        by_all: whether all ranks of the run stop together; otherwise the others may have missed the signal.
    """

    def __init__(self, number: int, by_all: bool = False) -> None:
        super().__init__(number, by_all)
        self.number, self.by_all = number, by_all

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}"


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Repeatable work stops to make way for a recorded signal."""


class Farewell:
    """The last message to the user after a signal stops this process."""

    def __str__(self) -> str:
        """Return one line on how to go on."""
        return ""

    def say(self, stopped: Stopped) -> None:
        """Print the message and do any other final work; no signal interrupts this."""


class _State:
    deferred = False
    leaving = False
    received: int | None = None
    interrupts = 0
    farewell: Farewell | None = None


@contextlib.contextmanager
def handled(farewell: Farewell | None = None) -> Iterator[None]:
    """Handle signals inside the block, in the main thread; afterwards restore the previous handlers.

    Args:
        farewell: printed once before `Stopped` leaves the block; the farewell of an outer block takes precedence.

    Where Python cannot raise, such as in a destructor, the handler records the signal.

    Raises:
        Stopped: at once, or at the end of the block for a recorded signal that nothing acted on.
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
    except GeneratorExit:  # a signal arrived between the end of the block and here: see `last_words`
        raise
    except BaseException as error:
        _State.leaving = True
        stopped = error if isinstance(error, Stopped) else None
        if stopped is None and _State.received is not None and not _State.deferred:
            # Foreign code that the signal interrupted, such as safetensors, may turn `Stopped` into its own error.
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
    """Print the farewell unless it has been printed; for code that catches `Stopped` outside `handled`.

    A signal can escape a `with` statement in the instant between the end of its block and the call of `__exit__`.
    """
    farewell, _State.farewell = _State.farewell, None
    if farewell is not None:
        with contextlib.suppress(Exception):  # a message that cannot be printed must not change the exit
            farewell.say(stopped)


def at_stop(farewell: Farewell | None) -> None:
    """Replace the farewell once more is known about how to go on; None removes it."""
    if threading.current_thread() is threading.main_thread():
        _State.farewell = farewell


def farewell() -> Farewell | None:
    """Return the current farewell."""
    return _State.farewell


def install() -> None:
    """Install the handlers, or reinstall them, in the main thread; do nothing in other threads."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _handle)


def nothing_is_left_to_save() -> None:
    """Ignore the warnings of a cluster from now on, for a process that is about to exit.

    The default action would end a job as failed whose run is finished, if its time is over while Python exits.
    """
    for number in SIGNALS:
        if number not in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def defer(yes: bool = True) -> None:
    """Record signals until `handled` ends instead of raising them; `yes=False` raises them again."""
    _State.deferred = yes


def received() -> int | None:
    """Return the number of the recorded signal, if any."""
    return _State.received


def give_way() -> None:
    """Stop repeatable work for a recorded signal; its loops call this.

    Raises:
        Interrupted: a signal has been recorded.
    """
    if _State.deferred and _State.received is not None:
        raise Interrupted


def _handle(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        _State.interrupts += 1
        if _State.interrupts > 1:
            _tell(f"left at once, without saving; {_words()}")
            os._exit(128 + number)
    first = _State.received is None
    if first:
        _State.received = number
    if _State.leaving:
        return
    if not _State.deferred:
        raise Stopped(number)
    if first:
        _tell(f"{signal.Signals(number).name}: stopping after this step")


def _tell(words: str) -> None:
    """Write a line to stderr's descriptor: a handler may have interrupted the stream itself."""
    with contextlib.suppress(OSError):  # closed, or a full disk behind it
        os.write(2, f"\nmicrogpt: {words}\n".encode(errors="replace"))


def _words() -> str:
    with contextlib.suppress(Exception):
        return str(_State.farewell or "")
    return ""
