"""The schema that Hydra composes onto, derived from the dataclasses, so that YAML need not restate knobs or defaults.

If the type of a field of `RunConfig`, or of a node in it, is a family of parts, the family becomes a schema group named
after the field: the members for `model.pos` are in `/schema/pos/`. Nothing is listed by hand.
"""

import typing
from collections.abc import Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from microgpt.config import Config, defaults, fields
from microgpt.engine.process import cluster
from microgpt.registry import Choice


def families(root: type[Config]) -> dict[str, type[Choice]]:
    """The families of parts under a configuration: path as typed (`model.pos`) -> the family's base class."""
    found: dict[str, type[Choice]] = {}

    def walk(cls: type[Config], prefix: str, above: tuple[type[Config], ...]) -> None:
        for key, annotation in fields(cls).items():
            for node in config_classes(annotation):
                if node in above:  # a part that contains parts of its own family
                    continue
                inside: list[type[Config]] = [node]
                if issubclass(node, Choice):
                    found.setdefault(f"{prefix}{key}", node)
                    inside += node.members.values()
                for each in inside:
                    walk(each, f"{prefix}{key}.", (*above, node))

    walk(root, "", (root,))
    return found


def config_classes(annotation: Any) -> Iterator[type[Config]]:
    """The configuration classes in an annotation: `X`, `X | None`, `dict[str, X]`, `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from config_classes(argument)


def register_schemas(root: type[Config]) -> None:
    """Register every knob with its default, and the resolvers that name run and sweep folders, with Hydra."""
    OmegaConf.register_new_resolver("run_name", cluster.run_name, replace=True)
    OmegaConf.register_new_resolver("sweep_name", str, replace=True)  # marks a folder that must be new
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=defaults(root))
    taken: dict[str, type[Choice]] = {}
    for path, family in families(root).items():
        group = path.rpartition(".")[2]
        if taken.setdefault(group, family) is not family:
            raise TypeError(f"two families under schema/{group}: give the field {path} another name")
        for name, member in family.members.items():
            store.store(group=f"schema/{group}", name=name, node=defaults(member))
