"""Parts chosen by one word without a YAML file: `model.mlp=swiglu`, `callbacks.a=b`.

Hydra replaces a word when an override sets a knob below it, as in `model.mlp=swiglu model.mlp.width=3`. These functions
therefore compose such knobs beside the word, under `model.mlp_knobs`, and fold them in afterwards.
"""

import re
from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from microgpt.config import Config, fields
from microgpt.registry import Choice

_NAMED_PART = re.compile(r"^((?:logger|callbacks)\.\w+)=(?=[A-Za-z])(?!null$)")
"""`callbacks.a=` before a word, which names a member."""


def beside_its_word(override: str, root: type[Config]) -> str:
    """Rewrite `model.mlp.width=1` as `model.mlp_knobs.width=1`, and `callbacks.a=b` as `callbacks.a.name=b`."""
    knob = re.compile(rf"^({'|'.join(words(root))})\.(?!name=)")
    return knob.sub(r"\1_knobs.", _NAMED_PART.sub(r"\1.name=", override))


def as_typed(override: str) -> str:
    """Restore an override to the form that the user typed."""
    return override.lstrip("+").replace("_knobs.", ".", 1)


def words(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """The knobs that choose a part by one word, such as `model.mlp`."""
    for key, annotation in fields(cls).items():
        if isinstance(annotation, type) and issubclass(annotation, Choice):
            yield from [prefix + key] if annotation.is_word else []
        elif isinstance(annotation, type) and issubclass(annotation, Config):
            yield from words(annotation, f"{prefix}{key}.")


def fold_knobs(tree: DictConfig, root: type[Config]) -> None:
    """Fold the knobs composed beside one-word parts into those parts."""
    for path in words(root):
        knobs, chosen = OmegaConf.select(tree, f"{path}_knobs"), OmegaConf.select(tree, path)
        if knobs is not None:
            node, _, name = path.rpartition(".")
            word = chosen if OmegaConf.is_config(chosen) else {"name": chosen}
            OmegaConf.select(tree, node).pop(f"{name}_knobs")
            OmegaConf.update(tree, path, OmegaConf.merge(word, knobs), merge=False)
