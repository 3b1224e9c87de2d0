"""Annotations of configuration fields: a range, a set of names, a mark that resuming may change the value."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The numbers that a field accepts: `min <= x <= max`, `above < x < below`."""

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, x: float) -> bool:
        low = (self.min is None or x >= self.min) and (self.above is None or x > self.above)
        high = (self.max is None or x <= self.max) and (self.below is None or x < self.below)
        return low and high and (isinstance(x, int) or math.isfinite(x))

    def __str__(self) -> str:
        bounds = (("at least", self.min), ("at most", self.max), ("above", self.above), ("below", self.below))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


@dataclass(frozen=True)
class OneOf:
    """The names that a text field accepts, listed anew for each value because a family of parts may have grown."""

    names: Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Mark:
    """Marks a knob that does not change what is learnt, where the knob is declared: `Annotated[int, MACHINE]`."""

    why: str


MACHINE = Mark("says only how fast or where")
"""Marks a knob of speed or place: a run may resume with another value and learns the same."""
COURSE = Mark("says how long, and what is watched and kept")
"""Marks a knob or node that changes no single step: a run may resume with another value."""
START = Mark("says how a run is started or described")
"""Marks a knob or node that a run may resume with another value of, and that does not tell experiments apart."""
