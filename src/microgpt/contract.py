"""Check parts of the user's own once, where they are built, on a tiny input: errors name the part and the method.

Shipped parts have tests, so they are not tried.
"""

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
        UsageError: the method fails.
    """
    try:
        return call(*arguments)
    except MicrogptError:
        raise
    except Exception as error:
        what = f"{name} fails on a tiny input: {type(error).__name__}: {one_line(error, 200)}"
        raise broken(what) from error


def broken(what: str) -> UsageError:
    """The error for a part that breaks its contract."""
    return UsageError(what, "a part of your own", "its base class says what it takes and returns")


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
