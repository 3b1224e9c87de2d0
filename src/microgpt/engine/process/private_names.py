"""Names that another library does not promise to keep: asked for by name, with a clear word when they are gone."""

import importlib
import importlib.metadata
from typing import Any

from microgpt.errors import MachineError


def private_name(package: str, checked: str, module: str, name: str) -> Any:
    """What `name` stands for in a module of `package`.

    Args:
        checked: the versions of the package that were checked to have it, as pip writes them.

    Raises:
        MachineError: the installed version has none.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        version = importlib.metadata.version(package)
        what = f"{package} {version} has no {module}.{name}, which microgpt uses"
        raise MachineError(what, "this environment", f"pip install '{package}{checked}'") from None
