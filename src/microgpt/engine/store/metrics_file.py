"""Read metrics.csv. The file is untrusted: cells that are no finite numbers are skipped. Imports no torch."""

import csv
import math
from pathlib import Path
from typing import Any

from microgpt.errors import CheckpointError

Curve = list[tuple[float, float]]
"""(step, value), ..."""


def read_curves(path: Path) -> dict[str, Curve]:
    """Read the finite values of a metrics.csv: column -> [(step, value), ...]; empty without a file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    curves: dict[str, Curve] = {}
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


def read_columns(path: Path) -> dict[str, list[float | None]]:
    """Read a metrics.csv as columns of equal length; None where a row has no finite number.

    Raises:
        CheckpointError: the file cannot be read.
    """
    curves = read_curves(path)
    steps = sorted({step for curve in curves.values() for step, _ in curve})
    row = {step: i for i, step in enumerate(steps)}
    columns: dict[str, list[float | None]] = {"step": list(steps)}
    for name, curve in curves.items():
        columns[name] = [None] * len(steps)
        for step, value in curve:
            columns[name][row[step]] = value
    return columns


def frame(columns: dict[str, list[Any]]) -> Any:
    """A pandas DataFrame of the columns; the columns themselves where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError:
        return columns
    return pd.DataFrame(columns)


def finite(cell: Any) -> float | None:
    """The number in a cell; None if it is no finite number."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
