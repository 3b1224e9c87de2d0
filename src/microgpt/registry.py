"""Families of interchangeable parts, registered by subclassing and chosen by name.

A part subclasses its family: a `Choice` if parts have knobs, a `Part` if they have none. It stands in a file of the
family's package or in a user's file that `imports=[file.py]` names. No other file lists it.
"""

import importlib
import importlib.util
import os.path
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from microgpt.config import Config, ConfigError, Fault, fields
from microgpt.errors import UsageError
from microgpt.files import sha256_of
from microgpt.text import did_you_mean

_PREFIX = "microgpt_imported_"
"""Prefix of the names of users' files in `sys.modules`, the only record of them."""


class Part:
    """Base of families whose members are classes, chosen by name.

    A subclass with `family=` starts a family, and a subclass of the family with `name=` joins it:

        class Metric(Part, family="metric"): ...
        class Loss(Metric, name="loss"): ...

    `members` maps names to classes, in order of definition.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    members: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, *, name: str = "", family: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family:
            cls.family, cls.members = family, {}
        elif name:
            known = cls.members.get(name)
            if known is not None and known.__qualname__ != cls.__qualname__:
                raise TypeError(f"{cls.family} {name!r} is already {known.__module__}.{known.__qualname__}")
            cls.name = name
            cls.members[name] = cls

    @classmethod
    def named(cls, name: str, where: str = "") -> type[Self]:
        """The member called `name`.

        Raises:
            UsageError: the family has no such member.
        """
        if name not in cls.members:
            raise UsageError(f"no {cls.family} {name!r}", where, did_you_mean(str(name), cls.members))
        member: type[Self] = cls.members[name]
        return member


class Choice(Part, Config):
    """A config that belongs to a family and is chosen by `name`.

    A field of the family's type accepts a name, or a mapping with the key `name`:

        class PositionConfig(Choice, family="position scheme"): ...
        class RoPEConfig(PositionConfig, name="rope"): ...

    A family is a Hydra group with a YAML file for each member. With `is_word=True` it has no files, and a member
    without knobs is written as its bare name.
    """

    is_family = is_group = True
    is_word: ClassVar[bool] = False

    def __init_subclass__(cls, *, family: str = "", is_word: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(family=family, **kwargs)
        if family:
            cls.is_word, cls.is_group = is_word, not is_word

    @classmethod
    def choose(cls, value: Any) -> Self:
        """Make the member of this family that a name or mapping chooses.

        Raises:
            ConfigError: there is no such member, or its knobs are wrong.
        """
        if isinstance(value, cls):
            return value
        values = {"name": value} if isinstance(value, str) else value
        if not isinstance(values, Mapping):
            raise ConfigError([Fault("", f"{value!r} is no {cls.family}", f"one of {', '.join(sorted(cls.members))}")])
        values = dict(values)
        name = values.pop("name", None)
        if not isinstance(name, str) or name not in cls.members:
            fix = did_you_mean(str(name), cls.members)
            raise ConfigError([Fault("name" if not isinstance(value, str) else "", f"no {cls.family} {name!r}", fix)])
        member: Self = cls.members[name].from_dict(values)
        return member

    @classmethod
    def from_value(cls, value: Any) -> Self:
        return cls.choose(value)

    def to_value(self) -> Any:
        return self.name if self.is_word and not fields(type(self)) else self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, **super().to_dict()}


def import_siblings(package: str, path: Iterable[str]) -> None:
    """Import all modules directly inside `package`, whose `__path__` is `path`."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def import_part(name: str, config_dir: Path | None = None) -> None:
    """Import a user's module or `.py` file once, so that the parts it defines are registered.

    Args:
        config_dir: searched for a relative file after the working directory.

    Raises:
        UsageError: there is no such file or module, or it fails to import.
    """
    if not name.endswith(".py"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"cannot import {name!r} ({error})", "imports", "name a module or a .py file") from None
        return
    places = [Path(name), *([config_dir / name] if config_dir else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is not None:
        _import_file(path.resolve())
    elif _imported_file(name) is None:  # nor imported earlier, when its folder was known
        raise UsageError(f"no such file {name!r}", "imports", f"looked for {' and '.join(map(str, places))}")


def portable_imports(names: Iterable[str]) -> list[str]:
    """The names under which another process can import the same modules: files by their absolute paths."""
    return [str(_imported_file(name) or name) if name.endswith(".py") else name for name in names]


def _import_file(path: Path) -> None:
    name = f"{_PREFIX}{path.stem}_{sha256_of([bytes(path)])[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file", "imports", "name a .py file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{type(error).__name__}: {error}", str(path), "make the file import cleanly") from error


def _imported_file(name: str) -> Path | None:
    """The imported file with this name or with a path that ends in it; the latest if there are several."""
    found = [Path(str(module.__file__)) for key, module in list(sys.modules.items()) if key.startswith(_PREFIX)]
    here = Path(name).resolve()
    if here in found:
        return here
    end = [part for part in Path(os.path.normpath(name)).parts if part != ".."]
    return next((path for path in reversed(found) if list(path.parts[-len(end) :]) == end), None)
