"""Convert mappings to frozen dataclasses, and report every fault at once.

Each knob is declared once, in a subclass of `Config` that stands beside the code that reads it:

    class RoPEConfig(PositionConfig, name="rope"):
        theta: Annotated[float, Range(above=0)] = 10_000.0
        "Base of the wavelengths."

The type defines the accepted values, the annotation their range, and the string below documents the knob. Families of
interchangeable parts are in `microgpt.registry`. This file imports neither torch nor Hydra.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self, dataclass_transform

from microgpt.bounds import COURSE as COURSE
from microgpt.bounds import MACHINE as MACHINE
from microgpt.bounds import START as START
from microgpt.bounds import Mark
from microgpt.bounds import OneOf as OneOf
from microgpt.bounds import Range as Range
from microgpt.conversion import ConfigError as ConfigError
from microgpt.conversion import Fault as Fault
from microgpt.conversion import convert
from microgpt.text import did_you_mean

Count = Annotated[int, Range(min=1)]
Natural = Annotated[int, Range(min=0)]
Positive = Annotated[float, Range(above=0)]
NonNegative = Annotated[float, Range(min=0)]
Fraction = Annotated[float, Range(min=0, below=1)]
"""Common types of knobs; a fraction is always below 1."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Config:
    """Base of every configuration: a frozen, keyword-only dataclass that checks its values on construction.

    Lossless conversions are automatic (2 to 2.0, 1e4 to 10000, a list to a tuple, a mapping to a nested
    Config, a name to a `microgpt.registry.Choice`).

    Raises:
        ConfigError: with every fault found, not just the first.
    """

    is_family: ClassVar[bool] = False
    """Whether a field of this type takes one of several classes, chosen by name."""
    is_group: ClassVar[bool] = False
    """Whether a Hydra group, with a YAML file for each part, fills a field of this type."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        for key, annotation in fields(type(self)).items():
            object.__setattr__(self, key, convert(getattr(self, key), annotation, key, faults))
        if not faults:
            faults.extend(self.check())
        if faults:
            raise ConfigError(faults)

    def check(self) -> Iterator[Fault]:
        """Yield faults in combinations of values; each value already has its type and range."""
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
        """Make a config from a field's plain value; raises ConfigError as `from_dict` does."""
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        raise ConfigError([Fault("", f"{value!r} is not a group of knobs", f"it holds {', '.join(fields(cls))}")])

    def to_value(self) -> Any:
        """The field's plain value, which `from_value` reads."""
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """The plain mapping that `from_dict` reads: only str, int, float, bool, None, list and dict."""
        return {key: _plain(getattr(self, key)) for key in fields(type(self))}


_FIELDS: dict[type[Config], dict[str, Any]] = {}


def fields(cls: type[Config]) -> dict[str, Any]:
    """The knobs of a config class: key -> annotation."""
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls, include_extras=True)
        _FIELDS[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return _FIELDS[cls]


def defaults(cls: type[Config]) -> dict[str, Any]:
    """Every knob of `cls` with its default as plain data, without the fields that a Hydra group fills."""
    tree: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        annotation = fields(cls)[field.name]
        if typing.get_origin(annotation) is Annotated:
            annotation = typing.get_args(annotation)[0]
        is_node = isinstance(annotation, type) and issubclass(annotation, Config)
        if is_node and annotation.is_group:
            continue
        if is_node and not annotation.is_family:
            tree[field.name] = defaults(annotation)
        else:
            make = field.default_factory
            tree[field.name] = _plain(field.default if make is dataclasses.MISSING else make())
    return tree


def marked(cls: type[Config], path: str = "") -> dict[str, Mark]:
    """The marked knobs and nodes of a config class, nested ones included: dotted path -> mark."""
    found: dict[str, Mark] = {}
    for key, annotation in fields(cls).items():
        here = f"{path}.{key}" if path else key
        is_annotated = typing.get_origin(annotation) is Annotated
        marks = [mark for mark in typing.get_args(annotation)[1:] if isinstance(mark, Mark)] if is_annotated else []
        inner = typing.get_args(annotation)[0] if is_annotated else annotation
        if marks:
            found[here] = marks[0]
        elif isinstance(inner, type) and issubclass(inner, Config):
            found |= marked(inner, here)
    return found


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_value()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
