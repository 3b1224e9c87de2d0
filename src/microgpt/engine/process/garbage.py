"""Tune Python's garbage collector in a process that this package owns. Imports nothing of the package."""

import atexit
import gc


def collect_rarely() -> None:
    """Collect garbage rarely, and not at exit.

    A training process has a million objects, most of them permanent. Searching them for garbage takes a second during
    imports and another second at exit.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
