"""All uses of Hydra's private names."""

import argparse
from collections.abc import Sequence
from typing import Any

from microgpt.engine.process.private_names import private_name

CHECKED = ">=1.3.2,<1.4"
"""Versions of hydra-core known to have these names."""
BUILT_IN = "hydra._internal.core_plugins."
"""Package of Hydra's own launcher and sweeper."""
NAMES = (
    ("hydra._internal.utils", "get_args_parser"),
    ("hydra._internal.core_plugins.basic_sweeper", "BasicSweeper"),
)


def arguments_parser() -> argparse.ArgumentParser:
    """The parser of Hydra's command line: overrides, -m, --config-dir, --cfg and others."""
    parser: argparse.ArgumentParser = _get(0)()
    return parser


def sweep_points(overrides: Sequence[Any]) -> list[list[str]]:
    """The points of a grid sweep, each as the overrides of a single run.

    Args:
        overrides: the result of `OverridesParser.parse_overrides`.
    """
    batches: list[list[list[str]]] = _get(1).split_arguments(list(overrides), max_batch_size=None)
    return [point for batch in batches for point in batch]


def _get(index: int) -> Any:
    return private_name("hydra-core", CHECKED, *NAMES[index])
