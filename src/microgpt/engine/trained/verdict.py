"""Say in words what a run's score means: beside counting, and beside what more or fewer steps would give.

Everything here is in bits per character, the unit that compares models with different tokenizers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from microgpt.engine.store.metrics_file import Curve
from microgpt.text import sentence

UNIT = "bits per character"
WORSE = 0.003
"""A last score that is worse than the best by this share counts as overfitting, not as noise."""
FEWEST = 10
"""Steps from which a run has a course; with fewer it was a try."""
FALLING = 0.005
"""A score that fell by this share in the last quarter of the steps is still falling."""


@dataclass(frozen=True)
class Verdict:
    """A run's score on the validation split.

    Attributes:
        bits: the best score.
        counting: the scores of the n-gram baselines, by name.
        guessing: the score of guessing among all tokens alike.
        curve: the score at each evaluation, as (step, value); values in any unit, as only their ratios count.
        total: optimizer steps of the whole run.
    """

    bits: float
    counting: Mapping[str, float]
    guessing: float
    curve: Curve
    total: int

    def __str__(self) -> str:
        return sentence(self.beside_counting(), self.course())

    def beside_counting(self) -> str:
        """Compare the score with the baselines: `better than every kind of counting (...)`."""
        ranked = sorted(self.counting.items(), key=lambda pair: pair[1])
        if self.bits >= self.guessing:
            return "no better than guessing: the model has learnt nothing, try a lower optim.lr or more steps"
        if not ranked:
            return ""
        beaten = [pair for pair in ranked if self.bits < pair[1]]
        if not beaten:
            name, bits = ranked[-1]
            return f"better than guessing, and worse than {name} by {self.bits - bits:.2f} bits"
        name, bits = beaten[0]
        above = next((pair for pair in reversed(ranked) if self.bits >= pair[1]), None)
        worse = f", and worse than {above[0]} by {self.bits - above[1]:.2f}" if above else ""
        return f"better than {name} by {bits - self.bits:.2f} bits{worse}"

    def course(self) -> str:
        """Tell whether more or fewer steps would help, from the scores of the evaluations; empty if there are few."""
        if len(self.curve) < 2 or self.total < FEWEST:
            return ""
        (last_step, last), (best_step, best) = self.curve[-1], min(self.curve, key=lambda point: point[1])
        if last > best * (1 + WORSE):
            lost = (last / best - 1) * 100
            return (
                f"overfitted since step {best_step:.0f} ({lost:.1f} % worse at step {last_step:.0f}): "
                "more text, model.dropout or a smaller model would help, more steps would not"
            )
        since, before = next(point for point in reversed(self.curve[:-1]) if point[0] <= 0.75 * last_step or point is
                             self.curve[0])  # fmt: skip
        fell = 1 - last / before
        if fell > FALLING:
            quarter = f"{fell * 100:.1f} % since step {since:.0f}"
            return f"still falling ({quarter}): train longer, with trainer.max_steps={2 * self.total}"
        return f"level since step {since:.0f}: more steps alone will not help much"


def bits_per_character(nats_per_token: float, chars_per_token: float) -> float:
    """Convert a loss to bits per character of the text."""
    return nats_per_token / math.log(2) / chars_per_token


def score_table(bits: float, counting: Mapping[str, float]) -> list[str]:
    """Lines that put a score beside the baselines', best first."""
    rows = sorted([("this model", bits), *counting.items()], key=lambda pair: pair[1])
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {value:.4f}" for name, value in rows]


def overfits(curve: Curve) -> str:
    """Say whether a run on one repeated batch learnt it by heart.

    Args:
        curve: the training loss in nats per token, by step.
    """
    if len(curve) < 2:
        return "one batch: too few steps are logged to tell whether the model learns it"
    (_, first), (step, last) = curve[0], curve[-1]
    course = f"the training loss fell from {first:.3f} to {last:.3f} nats per token in {step:.0f} steps"
    if last < 0.05 * first:
        return f"It overfits one batch: {course}, so that model, loss and optimizer can learn."
    return (
        f"It does not overfit one batch: {course} instead of near zero. Look at parts of your own first, then raise "
        "trainer.max_steps or change optim.lr."
    )
