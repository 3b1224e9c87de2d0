"""What every command does alike: errors as one line, exit codes, interrupts, safe output."""

import os
import sys
from collections.abc import Callable, Sequence

from microgpt.engine import signals
from microgpt.engine.terminal import printable
from microgpt.errors import MicrogptError


def run(command: Callable[[list[str]], None], argv: Sequence[str] | None = None) -> int:
    """Call `command(arguments)` and return the process's exit code.

    Errors meant for the user are printed to stderr as `microgpt: error: ...`, one line a fault. `--debug` among the
    arguments, or MICROGPT_DEBUG=1, shows the traceback too.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = os.environ.get("MICROGPT_DEBUG", "") not in ("", "0")
    if "--debug" in arguments:
        arguments.remove("--debug")
        debug = True
    signals.install()
    try:
        command(arguments)
        sys.stdout.flush()
    except MicrogptError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            complain(line)
        return error.exit_code
    except signals.Stopped as stopped:
        complain(f"stopped by signal {stopped.number}")
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except Exception as error:
        if debug:
            raise
        complain(
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; run again with --debug for the traceback"
        )
        return 1
    return 0


def complain(line: str) -> None:
    """Print one error line to stderr."""
    print(f"microgpt: error: {printable(line)}", file=sys.stderr, flush=True)
