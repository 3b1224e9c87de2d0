"""Import every module of a package, so that a part is registered by being there."""

import importlib
import pkgutil
from collections.abc import Iterable


def import_siblings(package: str, path: Iterable[str]) -> None:
    """Import all modules directly inside `package`, whose `__path__` is `path`."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
