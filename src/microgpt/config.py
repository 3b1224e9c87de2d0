"""Mappings become frozen dataclasses, and every fault is reported at once.

Each knob is declared once, in a subclass of `Config` that stands beside the code that reads it:

    class RoPEConfig(PositionConfig, name="rope"):
        theta: Annotated[float, Range(above=0)] = 10_000.0
        "Base of the wavelengths."

The type says what is accepted, the default what is meant when nothing is said, the line below what it does.
Families of interchangeable parts are in `microgpt.registry`. No torch, no Hydra here.
"""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, Union, dataclass_transform

from microgpt.bounds import OneOf as OneOf
from microgpt.bounds import Range as Range
from microgpt.errors import UsageError
from microgpt.text import did_you_mean


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a configuration: where it stands, what it is, what to do."""

    path: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.what}" if self.path else self.what
        return f"{text}; {self.fix}" if self.fix else text

    def under(self, parent: str) -> "Fault":
        return dataclasses.replace(self, path=f"{parent}.{self.path}" if self.path else parent)


class ConfigError(UsageError):
    """One or more faults in a configuration; `faults` holds them all, `str()` has one line each."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


Count = Annotated[int, Range(min=1)]
Natural = Annotated[int, Range(min=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(min=0)]
Fraction = Annotated[float, Range(min=0, below=1)]
"""The numbers that most knobs are: a share is never the whole."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Config:
    """Base of every configuration: a frozen, keyword-only dataclass that checks itself when made.

    Values are converted where nothing is lost (2 to 2.0, 1e4 to 10000, a list to a tuple, a mapping to a nested
    Config, a name to a `microgpt.registry.Choice`).

    Raises:
        ConfigError: with every fault found, not just the first.
    """

    is_family: ClassVar[bool] = False  # whether a field of this type takes one of several classes, chosen by name

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        for key, annotation in fields(type(self)).items():
            object.__setattr__(self, key, _convert(getattr(self, key), annotation, key, faults))
        if not faults:
            faults.extend(self.check())
        if faults:
            raise ConfigError(faults)

    def check(self) -> Iterator[Fault]:
        """Yield what is wrong with the values taken together; each is already of its type and in its range."""
        return iter(())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a config from a plain mapping, as read from YAML or JSON.

        Raises:
            ConfigError: with every fault: unknown keys, wrong types, values out of range.
        """
        unknown = [str(key) for key in values if key not in fields(cls)]
        faults = [Fault(key, "unknown key", did_you_mean(key, fields(cls))) for key in unknown]
        try:
            config = cls(**{key: value for key, value in values.items() if key in fields(cls)})
        except ConfigError as error:
            faults.extend(error.faults)
        if faults:
            raise ConfigError(faults)
        return config

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Make a config from the value of a field of this type; raises a ConfigError as `from_dict` does."""
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        raise ConfigError([Fault("", f"{value!r} is not a group of knobs", f"it holds {', '.join(fields(cls))}")])

    def to_dict(self) -> dict[str, Any]:
        """The plain mapping that `from_dict` reads: str, int, float, bool, None, list and dict alone."""
        return {key: _plain(getattr(self, key)) for key in fields(type(self))}


_FIELDS: dict[type[Config], dict[str, Any]] = {}


def fields(cls: type[Config]) -> dict[str, Any]:
    """The knobs of a config class: key -> annotation."""
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls, include_extras=True)
        _FIELDS[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return _FIELDS[cls]


def defaults(cls: type[Config]) -> dict[str, Any]:
    """Every knob of `cls` with its default as plain data; fields of which a member is chosen stay out."""
    tree: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        annotation = fields(cls)[field.name]
        if isinstance(annotation, type) and issubclass(annotation, Config):
            if not annotation.is_family:
                tree[field.name] = defaults(annotation)
        else:
            make = field.default_factory
            tree[field.name] = _plain(field.default if make is dataclasses.MISSING else make())
    return tree


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _convert(value: Any, annotation: Any, path: str, faults: list[Fault]) -> Any:
    """`value` as `annotation` wants it; what cannot be converted is returned as it is and reported in `faults`."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bound = args[1]
        value = _convert(value, args[0], path, faults)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and isinstance(bound, Range) and value not in bound:
            faults.append(Fault(path, f"{value!r} is out of range", f"it must be {bound}"))
        if isinstance(bound, OneOf) and value not in (names := list(bound.names())):
            faults.append(Fault(path, f"no such choice {value!r}", did_you_mean(str(value), names)))
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, args, path, faults)
    if origin is Literal:
        if isinstance(value, bool) and str(value).lower() in args:  # YAML reads a bare true as a boolean
            value = str(value).lower()
        if value not in args:
            faults.append(Fault(path, f"no such choice {value!r}", did_you_mean(str(value), map(str, args))))
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or (args[-1] is not Ellipsis and len(value) != len(args)):
            size = "" if args[-1] is Ellipsis else f" of {len(args)}"
            faults.append(Fault(path, f"{value!r} is not a list{size}", "write it as [a, b]"))
            return value
        items = args[:1] * len(value) if args[-1] is Ellipsis else args
        return tuple(_convert(v, a, f"{path}[{i}]", faults) for i, (v, a) in enumerate(zip(value, items, strict=True)))
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return _convert_config(value, annotation, path, faults)
    return _convert_scalar(value, annotation, path, faults)


def _convert_union(value: Any, args: tuple[Any, ...], path: str, faults: list[Fault]) -> Any:
    if value is None and type(None) in args:
        return None
    attempts: list[list[Fault]] = []
    for option in args:
        if option is type(None):
            continue
        found: list[Fault] = []
        converted = _convert(value, option, path, found)
        if not found:
            return converted
        attempts.append(found)
    # A fault of range says more than a fault of type, and the last option is the one with names to choose from.
    faults.extend(next((a for a in attempts if "out of range" in a[0].what), attempts[-1]))
    return value


def _convert_config(value: Any, annotation: type[Config], path: str, faults: list[Fault]) -> Any:
    if isinstance(value, annotation):
        return value
    try:
        return annotation.from_value(value)
    except ConfigError as error:
        faults.extend(fault.under(path) for fault in error.faults)
        return value


def _convert_scalar(value: Any, annotation: Any, path: str, faults: list[Fault]) -> Any:
    number = value
    if isinstance(value, str) and annotation in (int, float):
        with contextlib.suppress(ValueError):
            number = float(value)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if annotation is int and is_number and abs(number) < 2**63 and number == int(number):
        return int(number)
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
