"""The schema that Hydra composes onto, derived from the dataclasses: every knob exists, and no YAML restates a default.

A field of `RunConfig`, or of a node in it, whose type is a family of parts makes the family a schema group by the
field's name: `model.pos` has its members in `/schema/pos/`. Nothing is listed by hand.
"""

import typing
from collections.abc import Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from microgpt.config import Config, defaults, fields
from microgpt.engine.addons import import_shipped
from microgpt.engine.config import RunConfig
from microgpt.engine.process import cluster
from microgpt.registry import Choice


def families(root: type[Config] = RunConfig) -> dict[str, type[Choice]]:
    """The families of parts under a configuration: path as typed (`model.pos`) -> the family's base class."""
    found: dict[str, type[Choice]] = {}

    def walk(cls: type[Config], prefix: str, above: tuple[type[Config], ...]) -> None:
        for key, annotation in fields(cls).items():
            for node in config_classes(annotation):
                if node in above:  # a part made of parts of its own family
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
    """The configuration classes that an annotation names: `X`, `X | None`, `dict[str, X]`, `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from config_classes(argument)


def register_schemas() -> None:
    """Put every knob with its default into Hydra's store, and the function that names run folders."""
    OmegaConf.register_new_resolver("run_name", cluster.run_name, replace=True)
    import_shipped()
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=defaults(RunConfig))
    taken: dict[str, type[Choice]] = {}
    for path, family in families().items():
        group = path.rpartition(".")[2]
        if taken.setdefault(group, family) is not family:
            raise TypeError(f"two families under schema/{group}: give the field {path} another name")
        for name, member in family.members.items():
            store.store(group=f"schema/{group}", name=name, node=defaults(member))
