"""Families of parts: a class joins one by its name, a module by lying in its folder, a user's file by an import."""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

from microgpt.config import did_you_mean
from microgpt.errors import UsageError


class Part:
    """Base of a family of classes that are chosen by name.

    A subclass with `family=` starts a family, a subclass of that with `name=` joins it:

        class Metric(Part, family="metric"): ...
        class Loss(Metric, name="loss"): ...

    `members` holds the family by name, in the order of definition.
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
        """The member of that name.

        Raises:
            UsageError: the family has none.
        """
        if name not in cls.members:
            raise UsageError(f"no {cls.family} {name!r}", where, did_you_mean(str(name), cls.members))
        member: type[Self] = cls.members[name]
        return member


def import_siblings(package: str, path: Iterable[str]) -> None:
    """Import all modules directly inside `package`, whose `__path__` is `path`."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


_modules: dict[str, None] = {}
_imported: dict[str, Path] = {}
"""The files that were asked for -> where they were found."""


def import_part(name: str, config_dir: Path | None = None) -> None:
    """Import a user's module or `.py` file, so that the parts it defines are registered.

    Raises:
        UsageError: when there is no such file or module, or it fails to import.
    """
    if not name.endswith(".py"):
        try:
            importlib.import_module(name)
            _modules[name] = None
        except ImportError as error:
            raise UsageError(f"cannot import {name!r} ({error})", "imports", "name a module or a .py file") from None
        return
    places = [Path(name), *([config_dir / name] if config_dir else [])]
    places += [_imported[name]] if name in _imported else []  # found before, in a folder that is not known now
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UsageError(f"no such file {name!r}", "imports", f"looked for {' and '.join(map(str, places))}")
    _imported[name] = path.resolve()
    module_name = f"microgpt_imported_{path.stem}"
    loaded = sys.modules.get(module_name)
    if loaded is not None and loaded.__file__ == str(path.resolve()):
        return
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file", "imports", "name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UsageError(f"{type(error).__name__}: {error}", str(path), "make the file import cleanly") from error


def imported() -> list[str]:
    """What was imported so far, as another process can import it: module names and absolute paths."""
    return [*_modules, *map(str, dict.fromkeys(_imported.values()))]
