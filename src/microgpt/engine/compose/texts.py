"""Paths and other texts as the shell passed them on, quoted so that Hydra's grammar reads them as they are.

Hydra reads `=`, `,`, `[`, `(`, quotes and spaces as syntax. In the value of a knob that holds a text they mean
themselves, unless they can only mean Hydra's syntax: quotes around the whole value, several values in a sweep.
"""

import os.path
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from microgpt.bounds import OneOf
from microgpt.config import Config, fields
from microgpt.engine.compose.schema import config_classes
from microgpt.registry import Choice
from microgpt.text import quoted

FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Hydra's own knobs that hold a path. They name folders to make, so that a comma in one is its own."""
_PLAIN = re.compile(r"(?!(?:true|false|null|inf|nan)$)[A-Za-z_./][\w./:@+-]*", re.ASCII | re.IGNORECASE)
"""Values that Hydra reads as they are."""
_KEPT = re.compile(r"|null|\?\?\?|'.*'|\".*\"", re.DOTALL)
"""Values with a meaning of Hydra's: nothing, no value, quotes."""
_FUNCTION = re.compile(r"(?:choice|range|interval|glob|tag|sort|shuffle)\(.*\)", re.DOTALL)


def as_texts(override: str, kinds: Mapping[str, str], is_sweep: bool = False) -> str:
    """Quote an override's value where Hydra would not take it as typed, and expand a leading `~`.

    Args:
        kinds: see `text_knobs`.
        is_sweep: whether the value may be several, `a,b` or `choice(a,b)`.
    """
    key, equals, value = override.partition("=")
    kind = "text" if key.lstrip("+") in FOLDERS else kinds.get(key.lstrip("+"))
    if not equals or kind is None:
        return override
    if kind == "texts":
        is_list = value.startswith("[") and value.endswith("]")
        return f"{key}=[{_items(value[1:-1])}]" if is_list and not is_readable(override) else override
    if value.startswith("~/") and not os.path.lexists(value):
        value = os.path.expanduser(value)  # noqa: PTH111 - Path would drop a trailing slash
    if _PLAIN.fullmatch(value) or ("${" in value and is_readable(f"{key}={value}")):
        return f"{key}={value}"
    if os.path.lexists(value):
        return f"{key}={quoted(value)}"
    is_several = "," in value and not re.search(r"\s", value) and key not in FOLDERS
    if _KEPT.fullmatch(value) or (is_sweep and ("," in value or _FUNCTION.fullmatch(value))) or is_several:
        return f"{key}={value}"
    return f"{key}={quoted(value)}"


def is_readable(override: str) -> bool:
    """Whether Hydra's grammar accepts an override."""
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def text_knobs(root: type[Config]) -> dict[str, str]:
    """The knobs under a configuration that hold free text, as typed -> `text`, or `texts` for a list."""
    return dict(_text_knobs(root, "", (root,)))


def _text_knobs(cls: type[Config], prefix: str, above: tuple[type[Config], ...]) -> Iterator[tuple[str, str]]:
    for key, annotation in fields(cls).items():
        if kind := _kind(annotation):
            yield prefix + key, kind
        is_keyed = "Mapping" in str(annotation)
        for node in config_classes(annotation):
            inside = list(node.members.values()) if issubclass(node, Choice) else [node]
            for each in inside if node not in above else []:
                label = f"{each.name}." if is_keyed and issubclass(each, Choice) else ""
                yield from _text_knobs(each, f"{prefix}{key}.{label}", (*above, node))


def _kind(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return "" if any(isinstance(extra, OneOf) for extra in args[1:]) else _kind(args[0])
    if origin in (typing.Union, types.UnionType):
        kinds = {_kind(option) for option in args if option is not type(None)}
        return kinds.pop() if len(kinds) == 1 else ""
    if annotation == tuple[str, ...]:
        return "texts"
    return "text" if annotation is str else ""


def _items(inside: str) -> str:
    words = (word.strip() for word in inside.split(","))
    return ",".join(word if _PLAIN.fullmatch(word) or re.fullmatch(r"'.*'|\".*\"", word) else quoted(word)
                    for word in words)  # fmt: skip
