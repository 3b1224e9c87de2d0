"""Draw text in any script. Imports neither torch nor matplotlib."""

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def any_script() -> Iterator[None]:
    """Within: drawing characters that matplotlib's font lacks, as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield
