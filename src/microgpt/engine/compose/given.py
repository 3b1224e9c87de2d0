"""Turn what a notebook gives `train` into overrides: strings, lists, mappings and keywords.

"data.path=book.txt seed=3"     ["data.path=book.txt", "seed=3"]     {"model.n_layer": 4}     model__n_layer=4
model=GPTConfig(n_layer=4)
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from microgpt.config import Config
from microgpt.errors import UsageError
from microgpt.text import quoted

_NEXT = re.compile(r"\s+(?=[~+]*[A-Za-z_][\w./@-]*=)")


def as_overrides(given: Iterable[Any], knobs: Mapping[str, Any]) -> list[str]:
    """Turn each thing given, in order, and then the keywords into Hydra overrides.

    Args:
        given: strings of overrides, lists of overrides, or mappings, nested or with dotted keys.
        knobs: keywords, with `__` for the dots of a knob's name.

    Raises:
        UsageError: something else was given.
    """
    found: list[str] = []
    for thing in given:
        if isinstance(thing, str):
            found += [word for word in _NEXT.split(thing.strip()) if word]
        elif isinstance(thing, Mapping):
            found += _flat(thing)
        elif isinstance(thing, Iterable):
            found += [str(word) for word in thing]
        else:
            what = f"{type(thing).__name__} {thing!r}"
            raise UsageError(what, "train", 'give "knob=value", a list of these, {"knob": value} or knob=value')
    return found + list(_flat({key.replace("__", "."): value for key, value in knobs.items()}))


def _flat(tree: Mapping[Any, Any], above: str = "") -> Iterator[str]:
    """Overrides for a mapping; a part's name becomes the choice itself, before its knobs."""
    for key, given in sorted(tree.items(), key=lambda item: item[0] != "name"):
        path = f"{above}.{key}" if above else str(key)
        value = given.to_dict() if isinstance(given, Config) else given
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        elif key == "name" and above:
            yield f"{above}={literal(value)}"
        else:
            yield f"{path}={literal(value)}"


def literal(value: Any) -> str:
    """A plain value as Hydra's grammar writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return quoted(os.fspath(value))
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{quoted(str(key))}:{literal(item)}" for key, item in value.items()) + "}"
    if getattr(value, "ndim", None) == 0:  # a scalar of numpy or torch
        return literal(value.item())
    if isinstance(value, Iterable):
        return "[" + ",".join(literal(item) for item in value) + "]"
    raise UsageError(f"{type(value).__name__} {value!r}", "a knob", "give a number, a text, a list or a mapping")
