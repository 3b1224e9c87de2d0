"""Convert values to the types of a configuration's fields, collecting every fault."""

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeGuard, Union

from microgpt.bounds import OneOf, Range
from microgpt.errors import UsageError
from microgpt.text import did_you_mean

_NOT_FINITE = "is not a finite number"


@dataclass(frozen=True)
class Fault:
    """One error in a configuration: the dotted path, what is wrong, how to fix it."""

    path: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.what}" if self.path else self.what
        return f"{text}; {self.fix}" if self.fix else text

    def under(self, parent: str) -> "Fault":
        """The same fault with its path inside the node `parent`."""
        return dataclasses.replace(self, path=f"{parent}.{self.path}" if self.path else parent)


class ConfigError(UsageError):
    """One or more faults in a configuration: `faults` lists them, `str()` gives each a line."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Node(Protocol):
    """The method of a configuration class that conversion calls."""

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Make the config from plain data.

        Raises:
            ConfigError: with every fault in it.
        """


def is_node(annotation: Any) -> TypeGuard[type[Node]]:
    """Whether an annotation is a configuration class."""
    return isinstance(annotation, type) and hasattr(annotation, "from_value")


def convert(value: Any, annotation: Any, path: str, faults: list[Fault]) -> Any:
    """Convert `value` to the annotated type; an inconvertible value is returned unchanged and its fault appended."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in _CONVERTERS:
        return _CONVERTERS[origin](value, args, path, faults)
    if is_node(annotation):
        return _convert_config(value, annotation, path, faults)
    return _convert_scalar(value, annotation, path, faults)


def _convert_annotated(value: Any, args: tuple[Any, ...], path: str, faults: list[Fault]) -> Any:
    known = len(faults)
    value = convert(value, args[0], path, faults)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    for bound in args[1:]:
        if isinstance(bound, Range) and len(faults) > known and _NOT_FINITE in faults[-1].what:
            faults[-1] = dataclasses.replace(faults[-1], fix=f"it must be {bound}")
        elif is_number and isinstance(bound, Range) and value not in bound:
            faults.append(Fault(path, f"{value!r} is out of range", f"it must be {bound}"))
        if isinstance(bound, OneOf) and value not in (names := list(bound.names())):
            faults.append(Fault(path, f"no such choice {value!r}", did_you_mean(str(value), names)))
    return value


def _convert_union(value: Any, args: tuple[Any, ...], path: str, faults: list[Fault]) -> Any:
    if value is None and type(None) in args:
        return None
    attempts: list[list[Fault]] = []
    for option in args:
        if option is type(None):
            continue
        found: list[Fault] = []
        converted = convert(value, option, path, found)
        if not found:
            return converted
        attempts.append(found)
    # A range fault tells more than a type fault, and the last option of a union is the one that lists names.
    faults.extend(next((a for a in attempts if a[0].what.endswith(("out of range", _NOT_FINITE))), attempts[-1]))
    return value


def _convert_literal(value: Any, args: tuple[Any, ...], path: str, faults: list[Fault]) -> Any:
    if isinstance(value, bool) and str(value).lower() in args:  # YAML reads a bare true as a boolean
        value = str(value).lower()
    if value not in args:
        faults.append(Fault(path, f"no such choice {value!r}", did_you_mean(str(value), map(str, args))))
    return value


def _convert_tuple(value: Any, args: tuple[Any, ...], path: str, faults: list[Fault]) -> Any:
    has_any_length = args[-1] is Ellipsis
    if not isinstance(value, (list, tuple)) or (not has_any_length and len(value) != len(args)):
        size = "" if has_any_length else f" of {len(args)}"
        faults.append(Fault(path, f"{value!r} is not a list{size}", "write it as [a, b]"))
        return value
    items = args[:1] * len(value) if has_any_length else args
    return tuple(convert(v, a, f"{path}[{i}]", faults) for i, (v, a) in enumerate(zip(value, items, strict=True)))


def _convert_config(value: Any, annotation: type[Node], path: str, faults: list[Fault]) -> Any:
    if isinstance(value, annotation):
        return value
    try:
        return annotation.from_value(value)
    except ConfigError as error:
        faults.extend(fault.under(path) for fault in error.faults)
        return value


def _convert_mapping(value: Any, args: tuple[Any, ...], path: str, faults: list[Fault]) -> Any:
    """Convert a mapping from labels to members of a family: a label names the member unless `name` does, and null
    leaves an entry out."""
    family = args[1]
    if not isinstance(value, Mapping):
        what = getattr(family, "family", family.__name__)
        faults.append(Fault(path, f"{value!r} is not a group of {what}s", "write {name: {knob: value}}"))
        return value
    parts = {str(key): {"name": key, **part} if isinstance(part, Mapping) else part for key, part in value.items()}
    return {key: convert(part, family, f"{path}.{key}", faults) for key, part in parts.items() if part is not None}


_CONVERTERS: dict[Any, Callable[[Any, tuple[Any, ...], str, list[Fault]], Any]] = {
    Annotated: _convert_annotated,
    Union: _convert_union,
    types.UnionType: _convert_union,
    Literal: _convert_literal,
    tuple: _convert_tuple,
    Mapping: _convert_mapping,
}
"""An annotation's origin -> the conversion to it, called with the value, the origin's arguments, path and faults."""


def _convert_scalar(value: Any, annotation: Any, path: str, faults: list[Fault]) -> Any:
    number = value
    if isinstance(value, str) and annotation in (int, float):
        with contextlib.suppress(ValueError):
            number = float(value)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if annotation is int and is_number and abs(number) < 2**63 and number == int(number):
        return int(number)
    if annotation is float and isinstance(number, float) and not math.isfinite(number):
        faults.append(Fault(path, f"{value!r} {_NOT_FINITE}"))
        return value
    if annotation is float and is_number and (isinstance(number, float) or abs(number) < 2**1000):
        return float(number)
    if annotation is str and (is_number or isinstance(value, Path)):
        return str(value)
    if annotation is Any or (type(value) is annotation and not is_number):
        return value
    large = "a number that fits in 64 bits" if is_number and abs(number) >= 2**63 else _name(annotation)
    faults.append(Fault(path, f"{value!r} is not {large}"))
    return value


def _name(annotation: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))
