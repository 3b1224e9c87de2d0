"""Python's garbage collector in a process that is wholly ours. Imports nothing of the package."""

import atexit
import gc


def collect_rarely() -> None:
    """Most of a training process's million objects are there to stay: searching them for garbage takes a second while
    modules are imported, and another one when the process ends."""
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
