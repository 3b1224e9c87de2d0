"""Read the help in a launcher's or sweeper's YAML: its first comment, and the comment beside each parameter.

# Several points at a time on this machine.
n_jobs: 2 # points at a time
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microgpt.engine.commands.knobs import Knob
from microgpt.errors import UsageError
from microgpt.text import one_line

_COMMENTED = re.compile(r"^(\w+):(?:\s.*)?\s#\s*(.*)$")


@dataclass(frozen=True)
class YamlPart:
    """One option of a group such as hydra/launcher.

    Attributes:
        summary: the file's first comment line.
        parent: the option of the same group that this one extends; empty for none.
        parameters: this option's own parameters; `doc` is empty if the parent explains one.
    """

    name: str
    summary: str
    parent: str
    parameters: tuple[Knob, ...]


def read_part(file: Path, group: str) -> YamlPart:
    """Read one option of a group.

    Raises:
        UsageError: the file is not a mapping.
    """
    import yaml

    text = file.read_text(encoding="utf-8")
    try:
        values = yaml.safe_load(text)
        if not isinstance(values, dict):
            raise ValueError("it holds no mapping")
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read it ({one_line(error, 200)})", str(file), "write YAML") from None
    lines = text.splitlines()
    docs = {match[1]: match[2] for line in lines if (match := _COMMENTED.match(line))}
    summary = lines[0].removeprefix("#").strip() if lines and lines[0].startswith("#") else ""
    parents = [entry for entry in values.pop("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    values.pop("_target_", None)
    prefix = group.replace("/", ".")
    parameters = tuple(Knob(f"{prefix}.{key}", _typed(value), docs.get(key, "")) for key, value in values.items())
    return YamlPart(file.stem, summary, parents[0] if parents else "", parameters)


def _typed(value: Any) -> str:
    """A value as typed in an override."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_typed, value)) + "]"
    return str(value)
