"""What a folder of YAML may not do unasked: run code.

A `--config-dir` may come from anyone. Its YAML chooses parts and sets knobs; code runs only if the command line names
it, by `imports=[...]`, a knob or a group of its own such as `hydra/launcher=lab`, or if the folder is trusted whole.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from microgpt.engine.compose.groups import shipped_yaml
from microgpt.engine.compose.hydra_private import BUILT_IN
from microgpt.errors import UsageError
from microgpt.text import shown

OURS = ("hydra_plugins.microgpt.", BUILT_IN)
"""Prefixes of the launchers and sweepers that may be named freely."""
SHELL = ("setup", "python", "srun_args", "additional_parameters")
"""A launcher's parameters that reach a shell or sbatch."""


def refuse_code(tree: DictConfig, overrides: Sequence[str], trust: bool) -> None:
    """Refuse a composed tree, with its hydra node, that would run code which the command line does not name.

    Raises:
        UsageError: it would; the error names the code and how to allow it.
    """
    typed = {key_of(override) for override in overrides}
    if trust:
        return
    named = tree.get("imports")
    if named and "imports" not in typed:
        words = f"imports=[{','.join(map(str, named))}]"
        what = f"a YAML file asks to run {', '.join(map(str, named))}, which the command line does not name"
        raise UsageError(what, "imports", f"read that code, then allow it with {words} or --trust")
    for path, value in _code_in(OmegaConf.to_container(tree.hydra, resolve=False), "hydra"):
        if not any(f"{path}.".startswith(f"{key.replace('/', '.')}.") for key in typed):
            fix = "read it, then allow it with --trust, or leave it out"
            raise UsageError(f"a YAML file asks to run {shown(value)}", path, fix)


def key_of(override: str) -> str:
    """The key of an override as typed: `a.b` for `++a.b=1`, `~a.b` and `a.b@c=1`."""
    return override.lstrip("+~").split("=", 1)[0].split("@", 1)[0]


def _code_in(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The places in Hydra's node that name code to run, as path and value."""
    if isinstance(value, dict):
        for key, item in value.items():
            here = f"{path}.{key}"
            yield from [(here, item)] if _names_code(path, str(key), item) else _code_in(item, here)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _code_in(item, f"{path}[{i}]")
    elif isinstance(value, str) and value.startswith("ext://") and not value.startswith("ext://sys.std"):
        yield path, value  # an object to import, in a logging configuration


def _names_code(path: str, key: str, item: Any) -> bool:
    if key == "_target_":
        return not str(item).startswith(OURS)
    if key == "class":  # of a logging handler
        return not str(item).startswith("logging.")
    if path == "hydra.launcher" and key in SHELL:
        return item not in _shipped(key)
    return key == "()" or (f"{path}.{key}" == "hydra.callbacks" and bool(item))


def _shipped(key: str) -> list[Any]:
    """The values that shipped launchers give a parameter."""
    files: list[Path] = sorted((shipped_yaml() / "hydra" / "launcher").glob("*.yaml"))
    values = [yaml.safe_load(file.read_text(encoding="utf-8")).get(key) for file in files]
    merged: dict[Any, Any] = {}
    for value in values:
        merged |= value if isinstance(value, dict) else {}
    return [None, [], {}, *values, merged]
