"""What an annotated field of a configuration says beyond its type: a range, a set of names, what it does not decide."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The numbers an annotated field accepts: `min <= x <= max`, `above < x < below`."""

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
    """The names that an annotated text may be; asked anew for each value, as a family of parts may have grown."""

    names: Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Mark:
    """What a knob does not decide, said where it is declared: `Annotated[int, MACHINE]`."""

    why: str


MACHINE = Mark("says only how fast or where")
"""A knob that changes nothing that is learnt: a run may be resumed with another value."""
COURSE = Mark("says how long, and what is watched and kept")
"""A knob or node that changes no single step: a run may be resumed with another value."""
