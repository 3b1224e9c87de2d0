"""Import matplotlib to draw into files, whatever the environment says about windows. Imports nothing until asked."""

import contextlib
import os
import sys


def import_matplotlib() -> None:
    """Import matplotlib, if MPLBACKEND is set, with its backend, or without one where matplotlib refuses the name.

    Every process that Jupyter starts inherits the name of Jupyter's backend, which another environment may lack; the
    import of matplotlib then fails, for good, and so does that of Lightning, which imports it. A backend shows windows,
    and we draw into files.
    """
    named = os.environ.get("MPLBACKEND")
    if named is None or "matplotlib" in sys.modules:
        return
    os.environ["MPLBACKEND"] = "agg"
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = named
    with contextlib.suppress(ValueError):  # a notebook's own figures keep their backend
        matplotlib.rcParams["backend"] = named
