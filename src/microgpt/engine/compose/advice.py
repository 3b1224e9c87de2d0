"""What to write instead of a knob that does not exist.

A name that other programs have is answered first, then an exact name elsewhere in the configuration, then the most
similar name beside it or elsewhere.
"""

import difflib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from microgpt.config import Config, ConfigError, Fault, defaults, fields, flatten
from microgpt.engine.compose.conflicts import typed_values
from microgpt.engine.compose.foreign import ANSWERS, WHOLE, answer
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.schema import families
from microgpt.engine.compose.texts import text_knobs
from microgpt.text import did_you_mean

_NO_CHOICE = re.compile(r"true|false|[-+]?\d*\.?\d+(?:e[-+]?\d+)?|\{.*", re.IGNORECASE | re.DOTALL)
"""Values that Hydra reads as something else than a word, and takes for no choice of a group."""
KNOB = re.compile(r"(?:\+\+?)?[A-Za-z_][\w./]*=")


def better_advice(fault: Fault, root: type[Config], typed: Mapping[str, str]) -> Fault:
    """For an unknown key, what to write instead.

    Args:
        typed: key -> value as typed.
    """
    if fault.what != "unknown key":
        return fault
    name = fault.path.rpartition(".")[2]
    if said := answer(name, typed.get(fault.path, "")):
        return replace(fault, fix=said)
    places = [knob for knob in knob_names(root) if knob.rpartition(".")[2] == name]
    if places:
        return replace(fault, fix=f"did you mean {' or '.join(map(repr, places[:3]))}?")
    if fault.fix.startswith("did you mean"):
        return fault
    near = similar(name, fault.path, root)
    return replace(fault, fix=near) if near else fault


def similar(name: str, path: str, root: type[Config]) -> str:
    """The suggestion of the most similar group, knob elsewhere or foreign name; empty if nothing is similar."""
    groups = [group for group in config_groups(shipped_yaml()) if "/" not in group]
    near = did_you_mean(path, groups)
    if near.startswith("did you mean"):
        return near
    ends = {knob.rpartition(".")[2]: knob for knob in reversed(list(knob_names(root)))}
    for found in difflib.get_close_matches(name, [*ends, *ANSWERS], n=1, cutoff=0.75):
        return f"did you mean {ends[found]!r}?" if found in ends else str(answer(found))
    return ""


def knob_names(root: type[Config]) -> Iterator[str]:
    """Every knob as typed, the parts' own ones and the places of parts included."""
    parts = families(root)
    yield from dict.fromkeys([*flatten(defaults(root)), *parts])
    for path, family in parts.items():
        yield from dict.fromkeys(f"{path}.{key}" for member in family.members.values() for key in fields(member))


def refuse_foreign(overrides: Sequence[str], root: type[Config]) -> None:
    """Refuse words that are no overrides, and overrides that only another program takes.

    Raises:
        ConfigError: with a fault for each of them.
    """
    groups = {path for path, family in families(root).items() if family.is_group}
    words, faults = list[str](), list[Fault]()
    for word in overrides:
        if words and is_bare(word) and (text_kind(words[-1], root) or words[-1].endswith(",")):
            words[-1] += f" {word}"
        else:
            words.append(word)
    typed = set(overrides)
    for word in words:
        if word not in typed:
            key, _, value = word.partition("=")
            quote = f"quote a value with spaces: {shlex.quote(word)}"
            fix = quote if text_kind(word, root) else f"write no space after a comma: {word.replace(', ', ',')}"
            faults.append(Fault(key, f"the shell cut {value!r} at its spaces", fix))
        elif (fault := _foreign(word, groups, root)) is not None:
            faults.append(fault)
    if faults:
        raise ConfigError(faults)


def is_bare(word: str) -> bool:
    """Whether a word is no override and no option."""
    return "=" not in word and not word.startswith(("-", "~", "+"))


def text_kind(word: str, root: type[Config]) -> str | None:
    """How the knob of an override takes texts; None if it takes none."""
    key, equals, _ = word.lstrip("+").partition("=")
    return text_knobs(root).get(key) if equals else None


def _foreign(word: str, groups: set[str], root: type[Config]) -> Fault | None:
    key, equals, value = word.partition("=")
    node, _, last = key.rpartition(".")
    if word in WHOLE:
        return Fault(word, "there is no such choice", f"here that is: {WHOLE[word]}")
    if not equals and not word.startswith(("~", "+")):
        return Fault("", f"{word!r} is no override", as_override(word, root))
    if key == "data" and is_path(value) and not os.path.isdir(value):  # noqa: PTH112 - a folder may hold the choice
        return Fault("data", f"no such choice {value!r}", f"a text of your own is data.path={value}")
    is_choice = key in groups or key in ("data", "model", "debug", "experiment")
    if (
        is_choice
        and _NO_CHOICE.fullmatch(value)
        and value not in (known := config_groups(shipped_yaml()).get(key, [value]))
    ):
        return Fault(key, f"no such choice {value!r}", did_you_mean(value, known))
    if last == "name" and node in groups:
        return Fault(key, "a part is chosen by its group", f"write {node}={value}")
    return None


def as_override(word: str, root: type[Config]) -> str:
    """What to write for a word without `=`."""
    if is_path(word):
        return f"write key=value: a text of your own is data.path={word}"
    if word.startswith("-"):
        return option_advice(word, "", root)
    choices = [group for group, options in config_groups(shipped_yaml()).items() if word in options]
    return f"write key=value{f', such as {choices[0]}={word}' if choices else ''}"


def option_advice(word: str, value: str, root: type[Config]) -> str:
    """What to write for an option such as `--lr 3e-4` or `--data.path=book.txt`."""
    name, equals, given = word.lstrip("-").partition("=")
    name, value = name.replace("-", "_"), given if equals else value
    places = [knob for knob in knob_names(root) if name in (knob, knob.rpartition(".")[2])]
    if (said := answer(name.rpartition(".")[2], value)) and name not in places:
        return said
    if places:
        return f"knobs have no dashes: write {places[0]}={value or '...'}"
    near = similar(name.rpartition(".")[2], name, root)
    return f"knobs have no dashes: {near or 'write key=value'}; see --help"


def is_path(word: str) -> bool:
    """Whether a word looks like a file or folder."""
    return bool(re.search(r"[/\\]|\.\w{1,5}$|^~|\*", word)) or Path(word).exists()


def advise(faults: Sequence[Fault], root: type[Config], overrides: Sequence[str]) -> ConfigError:
    """The error for these faults, each with the best advice."""
    typed = typed_values(overrides)
    return ConfigError([better_advice(fault, root, typed) for fault in faults])
