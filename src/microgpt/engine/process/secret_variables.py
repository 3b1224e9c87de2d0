"""Environment variables whose names say that they are secrets: a run's files hold their names alone."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from microgpt.errors import UsageError

SECRET = re.compile(r"KEY|TOKEN(?!I)|PASSW|PASSPHRASE|SECRET|CREDENTIAL", re.IGNORECASE)
"""A name with one of these words is a secret's; TOKENIZER is none."""
_REFERENCE = re.compile(r"\$\{oc\.env:([^{}]*)\}")


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return SECRET.search(name) is not None


def reference(name: str) -> str:
    """The text that stands for the variable's value in a configuration."""
    return f"${{oc.env:{name}}}"


def references(value: Any) -> Iterator[str]:
    """The secret variables to which a nested plain value refers."""
    if isinstance(value, str):
        yield from filter(is_secret, _REFERENCE.findall(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from references(item)


def filled(value: Any, where: str) -> Any:
    """The nested plain value with the variables' values in place of the references.

    Args:
        where: the knob, for errors.

    Raises:
        UsageError: a variable is not set.
    """

    def read(match: re.Match[str]) -> str:
        name = match[1]
        if not is_secret(name):
            return match[0]
        if name not in os.environ:
            raise UsageError(f"the environment variable {name} is not set", where, "set it and start again")
        return os.environ[name]

    if isinstance(value, str):
        return _REFERENCE.sub(read, value)
    if isinstance(value, Mapping):
        return {key: filled(item, where) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(filled(item, where) for item in value)
    return value
