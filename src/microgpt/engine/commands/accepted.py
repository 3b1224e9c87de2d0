"""What `--help` says of each knob besides its meaning: the value in a plain `microgpt-train`, and the values to choose.

Both come from the configuration itself: the default run is composed, and the choices are read from the knobs' types.
"""

import types
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from microgpt.bounds import OneOf, Range
from microgpt.config import Config, fields, flatten
from microgpt.engine.commands.knobs import Knob
from microgpt.engine.commands.outline import outline
from microgpt.engine.commands.sources import Sources
from microgpt.registry import Choice


class Accepted:
    """The values of the default run and the choices of every shipped knob."""

    def __init__(self, sources: Sources) -> None:
        from microgpt.engine.compose.compose import compose_as

        root = outline(sources)
        self.values = flatten(compose_as(root, [])[0].to_dict())
        self.choices = dict(_choices(root, "", "", (root,)))

    def explained(self, knob: Knob) -> Knob:
        """The knob with the default run's value, if it has the knob, and its choices."""
        path, _, member = knob.choice.partition("=")
        is_chosen = not knob.choice or self.values.get(f"{path}.name", self.values.get(path)) == member
        value = self.values.get(f"{knob.name}.name", self.values.get(knob.name)) if is_chosen else None
        has_value = is_chosen and {knob.name, f"{knob.name}.name"} & self.values.keys()
        choices = self.choices.get((knob.name, knob.choice), "")
        doc = f"{knob.doc} [{choices}]" if choices and "One of" not in knob.doc else knob.doc
        return replace(knob, default=typed(value) if has_value else knob.default, doc=doc)


def typed(value: Any) -> str:
    """A value as it is typed in an override."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(typed(item) or "''" for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _choices(
    cls: type[Config], prefix: str, choice: str, above: tuple[type[Config], ...]
) -> Iterator[tuple[tuple[str, str], str]]:
    for key, annotation in fields(cls).items():
        if said := accepted_values(annotation):
            yield (f"{prefix}{key}", choice), said
        inner = typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation
        if not isinstance(inner, type) or not issubclass(inner, Config) or inner in above:
            continue
        path = f"{prefix}{key}"
        yield from _choices(inner, f"{path}.", choice, (*above, inner))
        for name, member in inner.members.items() if issubclass(inner, Choice) else ():
            yield from _choices(member, f"{path}.", f"{path}={name}", (*above, inner))


def accepted_values(annotation: Any) -> str:
    """The values that an annotation lists or bounds, in words; empty if it does neither."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        names = [", ".join(sorted(extra.names())) for extra in args[1:] if isinstance(extra, OneOf)]
        ranges = [str(extra) for extra in args[1:] if isinstance(extra, Range)]
        return " or ".join([*names, *ranges]) or accepted_values(args[0])
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        said = [words for option in args if (words := accepted_values(option))]
        return ", ".join([*said, "null"] if type(None) in args and said else said)
    return "true, false" if annotation is bool else ""
