"""A part that is typed beside an experiment, as in `experiment=nanogpt-char model=llama`, is the part as its file says.

Hydra lets an experiment's own values win over those of the chosen file, so that `optim=muon` would train with the
learning rate that the experiment has for AdamW. What a person types wins over what a file says: the experiment's values
of that part are left out, and the run says which.
"""

from collections.abc import Sequence
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from microgpt.config import Config, ConfigError, Fault, defaults, flatten
from microgpt.engine.compose.conflicts import typed_values
from microgpt.engine.compose.consent import key_of
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.words import fold_knobs
from microgpt.text import brief

TEXT = ("path", "corpus", "url", "sha256", "size", "encoding", "dtype", "documents", "separator", "jsonl_key")
"""Knobs of `data` that name and describe the text. `data=` chooses these and what its file sets, no batch size."""
NO_PARTS = ("debug", "experiment", "trainer.precision")
"""Groups whose choice is no part of a run; a typed precision is set by `conflicts.settle`."""


def stand_alone(tree: DictConfig, root: type[Config], overrides: Sequence[str], search: Sequence[str] = ()) -> str:
    """Remove, in a composed tree, an experiment's values of the parts that the command line chooses.

    Args:
        tree: without its hydra node.
        search: overrides that Hydra needs to find the files.

    Returns:
        A sentence that names the values left out; empty if there are none.

    Raises:
        ConfigError: an architecture is chosen for an experiment that continues a pretrained model.
    """
    typed = typed_values(overrides)
    experiment = typed.get("experiment", "null")
    chosen = sorted(key for key in config_groups(shipped_yaml()).keys() & typed.keys() if is_part(key))
    if experiment in ("null", "none") or not chosen:
        return ""
    if "model" in chosen and continues_weights(tree, typed, experiment):
        chosen.remove("model")
    without = compose("train", [*search, "~experiment", *about(chosen, overrides)])
    OmegaConf.set_struct(without, False)
    fold_knobs(without, root)
    before = values(tree)
    for group in chosen:
        if group == "data":
            choose_text(tree, without, defaults(root)["data"])
        else:
            OmegaConf.update(tree, group, OmegaConf.select(without, group), merge=False)
    after = values(tree)
    gone = [f"{knob}={brief(before[knob])}" for knob in before if before[knob] != after.get(knob)]
    words = [f"{group}={typed[group]}" for group in chosen if any(knob.startswith(f"{group}.") for knob in gone)]
    how = f"{' '.join(words)} {'is' if len(words) == 1 else 'are'} taken as given"
    return f"{how}, without {', '.join(gone)} of experiment={experiment}" if gone else ""


def is_part(group: str) -> bool:
    """Whether a group's choice is a part of a run."""
    return group not in NO_PARTS and "/" not in group


def about(groups: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The overrides that set something in the nodes of these groups, and the preset of `debug=`."""
    nodes = {"debug", *(group.partition(".")[0] for group in groups)}
    return [word for word in overrides if key_of(word).partition(".")[0] in nodes]


def choose_text(tree: DictConfig, without: DictConfig, usual: dict[str, Any]) -> None:
    """Take from a composition without the experiment what names the text, and what the corpus's file sets."""
    for key, value in without.data.items():
        if key in TEXT or value != usual.get(str(key)):
            OmegaConf.update(tree, f"data.{key}", value)


def continues_weights(tree: DictConfig, typed: dict[str, str], experiment: str) -> bool:
    """Whether an experiment continues pretrained weights of the model that the command line chooses.

    Raises:
        ConfigError: it continues those of another.
    """
    weights = OmegaConf.select(tree, "model.pretrained")
    if weights is None or "model.pretrained" in typed:
        return False
    if weights == typed["model"]:
        return True
    what = f"experiment={experiment} trains {weights} further, whose weights decide the architecture"
    raise ConfigError([Fault("model", what, f"leave it out, or name other weights: model.pretrained={typed['model']}")])


def values(tree: DictConfig) -> dict[str, Any]:
    """Every knob's value, without resolving interpolations."""
    plain = OmegaConf.to_container(tree, resolve=False)
    assert isinstance(plain, dict)
    return flatten({str(key): value for key, value in plain.items()})
