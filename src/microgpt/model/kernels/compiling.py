"""The one call of torch.compile. Imports torch alone."""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])
SLOW_GUARDS = r"Guards may run slower on Python 3\.13\.0"
"""torch's warning on Python 3.13.0, whose dictionaries cannot tell cheaply that they are unchanged."""


def compiled(function: F, **options: Any) -> F:
    """`torch.compile(function, **options)`, without the warning that Python 3.13.0 alone brings.

    torch warns once it compiles, at a call. Where warnings are errors, as in many test suites, the call would fail. Its
    switch for the warning, `issue_3_13_0_warning`, also switches on what fails there, so we filter the message alone.
    """
    made: Any = torch.compile(function, **options)
    if not (3, 13) <= sys.version_info < (3, 13, 1):
        return made  # type: ignore[no-any-return]

    @functools.wraps(function)
    def quiet(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=SLOW_GUARDS, category=RuntimeWarning)
            return made(*args, **kwargs)

    return quiet  # type: ignore[return-value]
