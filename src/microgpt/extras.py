"""Packages that only some features need, which an extra of ours installs."""

import importlib
from typing import Any

from microgpt.errors import MachineError


def package(name: str, extra: str, user: str, where: str = "") -> Any:
    """Import an optional package.

    Args:
        name: of the package, as imported.
        extra: of ours that installs it.
        user: what needs it, for the error: "this file".
        where: what the user typed to need it.

    Raises:
        MachineError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        what = f"{user} needs the package {name}, which is not installed"
        raise MachineError(what, where, f"pip install 'microgpt[{extra}]'") from None
