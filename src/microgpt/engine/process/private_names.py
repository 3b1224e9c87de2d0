"""Look up another library's private names, with a clear error once a version drops them."""

import importlib
import importlib.metadata
from typing import Any

from microgpt.errors import MachineError


def private_name(package: str, checked: str, module: str, name: str) -> Any:
    """Return the object called `name` in a module of `package`.

    Args:
        checked: the versions of the package known to have the name, in pip's notation.

    Raises:
        MachineError: the installed version lacks the name.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        version = importlib.metadata.version(package)
        what = f"{package} {version} has no {module}.{name}, which microgpt uses"
        raise MachineError(what, "this environment", f"pip install '{package}{checked}'") from None
