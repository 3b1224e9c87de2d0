"""Two knobs that say the same thing: what is typed wins over what a file says, and two typed ones are refused."""

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from microgpt.config import ConfigError, Fault
from microgpt.engine.compose.consent import key_of
from microgpt.engine.compose.groups import config_groups, shipped_yaml


@dataclass(frozen=True)
class Conflict:
    """A knob that silences another one.

    Attributes:
        winner: the knob that counts if both are set.
        loser: the knob that is then without effect.
        off: the winner's value that lets the loser count.
        about: what both decide.
        is_root: whether the run is about the winner, so that a file's value is not switched off.
    """

    winner: str
    loser: str
    off: bool | None
    about: str
    is_root: bool = False


CONFLICTS = (
    Conflict("trainer.max_steps", "trainer.max_epochs", None, "how long to train"),
    Conflict("data.path", "data.corpus", None, "which text to learn"),
    Conflict("data.path", "data.url", None, "which text to learn"),
    Conflict("data.path", "data.sha256", None, "which text to learn", is_root=True),
    Conflict("data.path", "data.size", None, "which text to learn", is_root=True),
    Conflict("trainer.find_lr", "optim.lr", False, "the learning rate"),
    Conflict("model.pretrained", "data.tokenizer", None, "the tokenizer", is_root=True),
)


def settle(tree: DictConfig, overrides: Sequence[str]) -> None:
    """Switch off, in a composed tree, what a file says and a typed knob contradicts.

    A group's YAML comes before an experiment's, so a typed choice of a group that is a knob is set again.

    Raises:
        ConfigError: two typed knobs contradict each other, or a typed one and what the run is about.
    """
    typed = typed_values(overrides)
    asked = [pair for pair in CONFLICTS if typed.get(pair.loser, "null") not in ("null", "pretrained")]
    silencing = [pair for pair in asked if OmegaConf.select(tree, pair.winner) not in (None, False)]
    refused = [pair for pair in silencing if pair.winner in typed or pair.is_root]
    fix = "leave one of the two out"
    if refused:
        raise ConfigError([Fault(pair.loser, f"{pair.winner} decides {pair.about} too", fix) for pair in refused])
    for pair in silencing:
        OmegaConf.update(tree, pair.winner, pair.off)
    for group in config_groups(shipped_yaml()).keys() & typed.keys():  # trainer.precision: a group that sets one knob
        if isinstance(OmegaConf.select(tree, group), str):
            OmegaConf.update(tree, group, typed[group])


def typed_values(overrides: Sequence[str]) -> dict[str, str]:
    """Each typed key -> its last value, without quotes."""
    return {key_of(word): word.partition("=")[2].strip("'\"") for word in overrides if "=" in word}
