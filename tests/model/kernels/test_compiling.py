"""Compiling on Python 3.13.0 gives no warning of its own, and hides no other."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import microgpt
from microgpt.model.kernels import compiling

SAID = "Guards may run slower on Python 3.13.0. Consider upgrading to Python 3.13.1+."


class _Version(tuple[Any, ...]):
    """A stand-in for sys.version_info."""


def warns_like(message: str, category: type[Warning]) -> Callable[..., Any]:
    """A torch.compile whose functions warn when called, as torch does while it makes guards."""

    def compile_(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            warnings.warn(message, category, stacklevel=2)
            return function(*args)

        return call

    return compile_


@pytest.mark.parametrize(
    ("version", "message", "category", "passes"),
    [
        ((3, 13, 0), SAID, RuntimeWarning, True),
        ((3, 13, 0), SAID, DeprecationWarning, False),  # another category is another warning
        ((3, 13, 0), "overflow in a product", RuntimeWarning, False),
        ((3, 13, 1), SAID, RuntimeWarning, False),  # never given there: nothing is filtered
        ((3, 12, 9), SAID, RuntimeWarning, False),
    ],
)
def test_only_the_warning_of_3_13_0_is_silenced_and_only_there(
    version: tuple[int, ...],
    message: str,
    category: type[Warning],
    passes: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", warns_like(message, category))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", _Version((*version, "final", 0)))
        double = compiling.compiled(lambda x: 2 * x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if passes:
            assert double(21) == 42
        else:
            with pytest.raises(category):
                double(21)


def test_the_message_is_the_one_that_this_torch_gives() -> None:
    """If torch rewords it, this fails, and the filter must follow."""
    source = Path(torch.__path__[0], "_dynamo", "guards.py").read_text(encoding="utf-8")
    assert source.count(SAID) == 1


def test_nothing_else_calls_torch_compile() -> None:
    sources = Path(microgpt.__path__[0]).rglob("*.py")
    assert [path.name for path in sources if "torch.compile(" in path.read_text(encoding="utf-8")] == ["compiling.py"]
