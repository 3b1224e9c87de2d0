"""Read the curves of a run from its metrics.csv, which is untrusted."""

import csv
import math
from pathlib import Path
from typing import Any

from microgpt.errors import CheckpointError


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read the finite values in a `metrics.csv`: column -> [(step, value), ...]; empty if there is no file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    if not path.is_file():
        return curves
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                step = finite(row.pop("step", None))
                for key, cell in row.items():
                    value = finite(cell)
                    if step is not None and value is not None:
                        curves.setdefault(key, []).append((step, value))
    except (OSError, csv.Error) as error:
        raise CheckpointError(f"unreadable metrics ({error})", str(path)) from error
    return curves


def finite(cell: Any) -> float | None:
    """A finite number; None for anything else."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
