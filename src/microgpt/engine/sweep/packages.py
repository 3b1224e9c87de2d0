"""The packages that a launcher and a sweeper need, asked for before a sweep writes anything."""

import importlib.util

from microgpt.errors import MachineError


def require_package(package: str, extra: str) -> None:
    """Check that a package is installed.

    Raises:
        MachineError: it is not; the error gives the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise MachineError(f"no package {package}", "", f"pip install 'microgpt[{extra}]'")
