"""Check parts of the user's own once, where they are built, on a tiny input: errors name the part and the method.

Shipped parts have tests, so they are not tried.
"""

import sysconfig
import traceback
from collections.abc import Callable
from typing import Any

from microgpt.errors import MicrogptError, UsageError
from microgpt.text import one_line


def is_own(part: object) -> bool:
    """Whether a part, or its class, is the user's own."""
    kind = part if isinstance(part, type) else type(part)
    return not kind.__module__.startswith("microgpt.")


def tried(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a part's method on a tiny input.

    Args:
        name: such as `ramp.bias`.

    Raises:
        UsageError: the method fails; the error names the line of the user's file.
    """
    try:
        return call(*arguments)
    except MicrogptError:
        raise
    except Exception as error:
        fails = "fails" if name.endswith(".build") else "fails on a tiny input"
        raise broken(f"{name} {fails}: {type(error).__name__}: {one_line(error, 200)}", own_line(error)) from error


def built(config: Any, *arguments: Any) -> Any:
    """What a part's config builds.

    Raises:
        UsageError: the config is the user's own, and its `build` fails.
    """
    return tried(f"{config.name}.build", config.build, *arguments) if is_own(config) else config.build(*arguments)


def own_line(error: Exception) -> str:
    """The last line of the user's code that an error went through, such as `mine/ramp.py, line 12`; empty if none."""
    libraries = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), "<")
    frames = [
        f"{frame.f_code.co_filename}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith(libraries)
        and frame.f_globals.get("__name__", "").partition(".")[0] != "microgpt"
    ]
    return frames[-1] if frames else ""


def broken(what: str, where: str = "") -> UsageError:
    """The error for a part that breaks its contract."""
    return UsageError(what, where or "a part of your own", "its base class says what it takes and returns")


def must_have_shape(name: str, value: Any, shape: tuple[int, ...], letters: str) -> None:
    """Check a tensor's shape.

    Args:
        letters: the shape as documented: `(B, T, C)`.

    Raises:
        UsageError: it has another shape, or is no tensor.
    """
    found = getattr(value, "shape", None)
    if found is None:
        raise broken(f"{name} must return a tensor {letters}, returns a {type(value).__name__}")
    if tuple(found) != shape:
        raise broken(f"{name} must return {letters} = {shape}, is {tuple(found)}")
