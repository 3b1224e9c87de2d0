"""Read a run's config.yaml as untrusted data. Imports PyYAML alone."""

from pathlib import Path
from typing import Any

import yaml

from microgpt.files import read_capped

LIMIT = 1 << 18
"Largest size of a config.yaml, in bytes."
MAX_LISTS = 1000
"Most bracketed lists and mappings in a config.yaml; hundreds nested in one another take minutes to parse."


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of aliases can expand to gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def read_config(path: Path) -> dict[str, Any]:
    """Read the mapping in a config.yaml, as plain data.

    Raises:
        OSError: the file cannot be read, or is a folder, a pipe or a device.
        ValueError: the file is too large, malformed, nested too deeply, or holds no mapping.
    """
    text = read_capped(path, LIMIT).decode()
    if text.count("[") + text.count("{") > MAX_LISTS:
        raise ValueError("too many lists")
    try:
        values = yaml.load(text, Loader=_PlainLoader)  # a SafeLoader yields plain data only
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("no mapping of keys to values")
    return values
