"""Knobs whose effect depends on another knob, or on the text, that is off: each is said before the first step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from microgpt.config import defaults, flatten
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.setup import Setup
from microgpt.text import brief


@dataclass(frozen=True)
class Facts:
    """What decides whether a knob has an effect.

    Attributes:
        draws: whether a logger takes figures.
    """

    setup: Setup
    draws: bool

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.setup.config

    @property
    def is_evaluated(self) -> bool:
        """Whether there is a validation split to evaluate on."""
        return is_evaluated(self.setup)


@dataclass(frozen=True)
class Idle:
    """Knobs that may be without effect.

    Attributes:
        knobs: their names as typed.
        reason: why they are, and what to do about it; None if they have an effect.
    """

    knobs: tuple[str, ...]
    reason: Callable[[Facts], str | None]


def is_evaluated(setup: Setup) -> bool:
    """Whether there is a validation split to evaluate on."""
    return len(setup.corpus.val) > 1


def idle_knobs(setup: Setup, draws: bool) -> Iterator[str]:
    """The knobs that differ from their default and have no effect, and a peak that is never reached: a sentence each.

    Args:
        draws: whether a logger takes figures.
    """
    facts, values, usual = Facts(setup, draws), flatten(setup.config.to_dict()), flatten(defaults(RunConfig))
    for idle in IDLE:
        asked = [knob for knob in idle.knobs if values[knob] != usual[knob]]
        if asked and (reason := idle.reason(facts)):
            names = ", ".join(f"{knob}={brief(values[knob])}" for knob in asked)
            yield f"{names} {'has' if len(asked) == 1 else 'have'} no effect: {reason}"
    warmup, steps = setup.config.optim.warmup_steps, setup.steps
    if warmup >= max(1, steps):
        why = f"the warm-up takes {warmup:g} of {steps} steps"
        fix = "lower optim.warmup_steps, or give a share of the run, such as 0.02"
        yield f"optim.lr={setup.config.optim.lr:g} is never reached: {why}; {fix}"


def _patience(facts: Facts) -> str | None:
    every, patience = facts.config.eval.every_n_steps, facts.config.trainer.early_stopping_patience
    if patience is None:
        return None
    if not facts.is_evaluated:
        return "there is no validation split; set data.val_fraction"
    if not every:
        return "eval.every_n_steps=0 evaluates at the end alone; set it"
    steps, needed = facts.setup.steps, patience + 1  # the first evaluation is always the best so far
    if (steps - 1) // every >= needed:
        return None
    return f"it needs {needed} evaluations before the last of {steps} steps; lower eval.every_n_steps from {every}"


def _figures(facts: Facts) -> str | None:
    if facts.config.eval.figures != "always":
        return None
    if not facts.is_evaluated:
        return "figures are drawn at an evaluation, and there is no validation split; set data.val_fraction"
    return None if facts.draws else "no logger takes figures; choose one that does, such as logger=tensorboard"


def _scored(facts: Facts) -> str | None:
    if facts.is_evaluated or len(facts.setup.corpus.test) > 1:
        return None
    return "there is no split to score; set data.val_fraction or data.test_fraction"


def _when(is_off: Callable[[Facts], bool], reason: str) -> Callable[[Facts], str | None]:
    return lambda facts: reason if is_off(facts) else None


IDLE = (
    Idle(("trainer.early_stopping_patience",), _patience),
    Idle(("eval.figures",), _figures),
    Idle(("eval.protocol", "eval.batch_size"), _scored),
    Idle(
        ("sample.top_k", "sample.top_p", "sample.min_p"),
        _when(
            lambda run: run.config.sample.temperature == 0,
            "sample.temperature=0 takes the likeliest token; raise it",
        ),
    ),
    Idle(
        ("trainer.compile_mode",),
        _when(lambda run: not run.setup.compiled, "the run is not compiled; set trainer.compile=true"),
    ),
    Idle(
        ("trainer.strategy",),
        _when(lambda run: run.setup.world.size == 1, "the run has one process; raise trainer.devices"),
    ),
    Idle(
        ("lora.alpha", "lora.targets"),
        _when(lambda run: not run.config.lora.rank, "lora.rank=0 trains the weights themselves; set it"),
    ),
    Idle(
        ("data.document_windows",),
        _when(lambda run: run.config.data.documents is None, "the text is not read as documents; set data.documents"),
    ),
    Idle(
        ("data.separator",),
        _when(lambda run: run.config.data.documents != "separator", "it is for data.documents=separator alone"),
    ),
    Idle(
        ("data.jsonl_key",),
        _when(lambda run: run.config.data.documents != "jsonl", "it is for data.documents=jsonl alone"),
    ),
    Idle(
        ("data.dtype",),
        _when(lambda run: not str(run.config.data.path).endswith(".bin"), "it is for .bin files alone"),
    ),
    Idle(
        ("data.vocab_size",),
        _when(
            lambda run: run.config.data.tokenizer not in ("bpe", "ids"),
            "the tokenizer has a vocabulary of its own; it is for data.tokenizer=bpe",
        ),
    ),
)
"""Every knob that can be idle."""
