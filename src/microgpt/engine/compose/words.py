"""Parts that are chosen by one word without a YAML file: `model.mlp=swiglu`, `callbacks.a=b`.

Hydra replaces a word when a knob below it is set, as in `model.mlp=swiglu model.mlp.width=3`. Such knobs are therefore
composed beside the word, under `model.mlp_knobs`, and folded into it afterwards.
"""

import re
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from microgpt.config import Config, fields
from microgpt.engine.config import RunConfig
from microgpt.registry import Choice

_NAMED_PART = re.compile(r"^((?:logger|callbacks)\.\w+)=(?=[A-Za-z])(?!null$)")
"""`callbacks.a=` before a word, which is the name of a member."""


def beside_its_word(override: str) -> str:
    """`model.mlp.width=1` as `model.mlp_knobs.width=1`, and `callbacks.a=b` as `callbacks.a.name=b`."""
    knob = re.compile(rf"^({'|'.join(words(RunConfig))})\.(?!name=)")
    return knob.sub(r"\1_knobs.", _NAMED_PART.sub(r"\1.name=", override))


def as_typed(override: str) -> str:
    """An override as the user typed it, before it was made ready for Hydra."""
    return override.lstrip("+").replace("_knobs.", ".", 1)


def words(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The knobs, such as `model.mlp`, that choose a part by one word."""
    for key, annotation in fields(cls).items():
        if isinstance(annotation, type) and issubclass(annotation, Choice):
            yield from [prefix + key] if annotation.is_word else []
        elif isinstance(annotation, type) and issubclass(annotation, Config):
            yield from words(annotation, f"{prefix}{key}.")


def fold_knobs(tree: DictConfig) -> None:
    """Give the parts that are one word the knobs that were composed beside them."""
    for path in words(RunConfig):
        knobs, chosen = OmegaConf.select(tree, f"{path}_knobs"), OmegaConf.select(tree, path)
        if knobs is not None:
            node, _, name = path.rpartition(".")
            word = chosen if OmegaConf.is_config(chosen) else {"name": chosen}
            OmegaConf.select(tree, node).pop(f"{name}_knobs")
            OmegaConf.update(tree, path, OmegaConf.merge(word, knobs), merge=False)
