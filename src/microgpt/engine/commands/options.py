"""Command-line options of a family's members, read from the sources so that --help stays fast.

Each field of a part, such as `card` of the export format hf, becomes an option `--card`.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from microgpt.config import ConfigError, Fault
from microgpt.engine.commands.knobs import default
from microgpt.engine.commands.sources import Sources, find_source, read_sources
from microgpt.errors import UsageError
from microgpt.text import did_you_mean

WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}


class Options:
    """A family's members and their options, including members from files that `--import` names.

    Args:
        family: dotted path of the family's class.
        arguments: the command line.
    """

    def __init__(self, family: str, arguments: Sequence[str]) -> None:
        self.sources = imported_sources(arguments)
        declared = self.sources.find(family)
        if declared is None:
            raise LookupError(family)
        self.family = declared.family
        self.members = {member.member: member for member in self.sources.members(declared)}

    def add_to(self, p: argparse.ArgumentParser) -> None:
        """Add every member's options to a parser.

        Raises:
            UsageError: the command already has an option of that name.
        """
        texts: dict[str, list[str]] = {}
        for name, member in self.members.items():
            for field in self.sources.fields(member):
                typed = default(self.sources, field)
                note = "" if typed == "null" else f" (default: {typed})"
                texts.setdefault(field.name, []).append(f"{name}: {field.doc}{note}")
        for field_name, docs in texts.items():
            try:
                p.add_argument(flag(field_name), dest=f"option {field_name}", metavar=field_name.upper(),
                               help="; ".join(docs).replace("%", "%%"))  # fmt: skip
            except argparse.ArgumentError:
                raise UsageError(f"the option {flag(field_name)} is the command's own", self.family,
                                 "give the field another name") from None  # fmt: skip

    def summary(self) -> str:
        """The members, one per line."""
        width = max(map(len, self.members))
        return "\n".join(f"  {name:<{width}}  {member.doc}" for name, member in self.members.items())

    def chosen(self, name: str, a: argparse.Namespace, where: str) -> dict[str, Any]:
        """The named member with the given options, in the form that `Choice.choose` takes.

        Raises:
            UsageError: no member has this name, or the member lacks an option.
        """
        if name not in self.members:
            raise UsageError(f"no {self.family} {name!r}", where, did_you_mean(name, self.members))
        known = [field.name for field in self.sources.fields(self.members[name])]
        given = {key.removeprefix("option "): value for key, value in vars(a).items() if key.startswith("option ")}
        given = {key: WORDS.get(value, value) for key, value in given.items() if value is not None}
        for key in given.keys() - set(known):
            fix = f"it has {', '.join(map(flag, known))}" if known else "it has no options"
            raise UsageError(f"{flag(key)} is no option of {name!r}", "the arguments", fix)
        return {"name": name, **given}


def imported_sources(arguments: Sequence[str]) -> Sources:
    """Read the package's sources and the files that `--import` names.

    Raises:
        UsageError: a file does not exist or is not Python.
    """
    p = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    p.add_argument("--import", dest="imports", action="append", default=[])
    try:
        names: list[str] = p.parse_known_args(list(arguments))[0].imports
    except argparse.ArgumentError:  # the command's own parser reports the error
        names = []
    return read_sources([find_source(name) for name in names])


def flag(field: str) -> str:
    """The command-line option for a field."""
    return f"--{field.replace('_', '-')}"


def as_flags(error: ConfigError) -> ConfigError:
    """Rename each fault's field to its command-line option."""
    return ConfigError([Fault(flag(f.path) if f.path else "", f.what, f.fix) for f in error.faults])
