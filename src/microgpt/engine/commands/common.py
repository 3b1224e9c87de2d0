"""Behaviour shared by all commands: one-line errors, exit codes, interrupts, safe output of any character."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TextIO

from microgpt.config import ConfigError
from microgpt.engine.process import cluster, garbage, signals
from microgpt.errors import MachineError, MicrogptError, UsageError
from microgpt.text import cut, one_line, printable


def run(
    command: Callable[[list[str]], None],
    argv: Sequence[str] | None = None,
    farewell: Callable[[list[str]], signals.Farewell] | None = None,
) -> int:
    """Call `command(arguments)` and return the exit code.

    `farewell(arguments)` makes the message to print when a signal stops the command.

    User errors go to stderr as `microgpt: error: ...`, one line per fault. `--debug` among the arguments, or
    MICROGPT_DEBUG=1, adds the traceback.
    """
    if argv is None:
        garbage.collect_rarely()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = take_debug(arguments)
    escape_unprintable()
    try:
        with signals.handled(farewell(arguments) if farewell else None):
            command(arguments)
            sys.stdout.flush()
    except signals.Stopped as stopped:
        signals.last_words(stopped)
        print(f"microgpt: {stopped}", file=sys.stderr, flush=True)
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: exit quietly
        silence(sys.stdout)
        return 0
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except Exception as error:
        if debug:
            raise
        return report(explained(error))
    return 0


def take_debug(arguments: list[str]) -> bool:
    """Whether the user wants tracebacks; removes `--debug` from the arguments."""
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    return debug or os.environ.get("MICROGPT_DEBUG", "") not in ("", "0")


def escape_unprintable() -> None:
    """Write characters that the terminal cannot encode as escapes, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def report(error: MicrogptError) -> int:
    """Print an error, one line per fault, and return its exit code."""
    if isinstance(error, UsageError) and not cluster.this_rank().is_first:
        return error.exit_code  # all ranks would print the same
    for line in error.faults if isinstance(error, ConfigError) else [error]:
        complain(str(line))
    return error.exit_code


def explained(error: Exception) -> MicrogptError:
    """Convert any error to a user error."""
    if isinstance(error, MicrogptError):
        return error
    if isinstance(error, OSError):
        silence(sys.stdout)
        where = str(error.filename or "the output")
        return MachineError(error.strerror or one_line(error), where, "check the disk, the path and its permissions")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        fix = "lower trainer.micro_batch_size, model.block_size or the size of the model"
        return MachineError("not enough memory", "this machine", fix)
    return MicrogptError(f"{type(error).__name__}: {one_line(error)}", "", "run again with --debug for the traceback")


def silence(stream: TextIO) -> None:
    """Discard a stream's buffered output, so that Python does not fail at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Parser(argparse.ArgumentParser):
    """An argument parser that reports misuse like any other error: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        misused(message)


def whole_number(text: str) -> int:
    """An option's value as an int, `1e3` included.

    Raises:
        argparse.ArgumentTypeError: it is no whole number.
    """
    with contextlib.suppress(ValueError, OverflowError):
        return int(text) if text.lstrip("+-").isdecimal() else exact_int(float(text))
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")


def exact_int(number: float) -> int:
    """A float's value as an int; raises ValueError if it has a fraction, OverflowError if it is infinite."""
    if number != int(number):
        raise ValueError(number)
    return int(number)


def misused(message: str) -> NoReturn:
    """Report misuse; argparse calls this as `error`.

    Raises:
        UsageError: always, with the message.
    """
    raise UsageError(message, "the arguments", "see --help")


def complain(line: str) -> None:
    """Print one error line to stderr."""
    text = printable(line.replace("\n", "\\n").replace("\t", " "))
    print(f"microgpt: error: {cut(text, 2000)}", file=sys.stderr, flush=True)
