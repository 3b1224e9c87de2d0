"""Behaviour shared by all commands: one-line errors, exit codes, interrupts, safe output of any character."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from microgpt import streams
from microgpt.config import ConfigError
from microgpt.contract import own_line
from microgpt.engine.commands.usage import usage_fix
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
        streams.open_descriptors()
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = take_debug(arguments)
    with streams.usable():
        code = call(command, arguments, farewell, debug)
        if argv is None:
            signals.nothing_is_left_to_save()
        try:
            sys.stdout.flush()
        except OSError as error:
            streams.silence(sys.stdout)
            return code or (0 if isinstance(error, BrokenPipeError) else report(explained(error)))
        return code


def call(
    command: Callable[[list[str]], None],
    arguments: list[str],
    farewell: Callable[[list[str]], signals.Farewell] | None,
    debug: bool,
) -> int:
    """Call the command and turn however it ends into an exit code; with `debug`, let unexpected errors pass."""
    try:
        with signals.handled(farewell(arguments) if farewell else None):
            command(arguments)
            sys.stdout.flush()
    except signals.Stopped as stopped:
        signals.last_words(stopped)
        streams.warn(f"microgpt: {stopped}")
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone: exit quietly
        streams.silence(sys.stdout)
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
        streams.silence(sys.stdout)
        where = str(error.filename or "the output")
        return MachineError(error.strerror or one_line(error), where, "check the disk, the path and its permissions")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        fix = "lower trainer.micro_batch_size, model.block_size or the size of the model"
        return MachineError("not enough memory", "this machine", fix)
    said = f"{type(error).__name__}: {one_line(error)}"
    return MicrogptError(said, own_line(error), "run again with --debug for the traceback")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports misuse like any other error: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, "the arguments", usage_fix(message, self.format_usage()))


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


def complain(line: str) -> None:
    """Print one error line to stderr."""
    text = printable(line.replace("\n", "\\n").replace("\t", " "))
    streams.warn(f"microgpt: error: {cut(text, 2000)}")
