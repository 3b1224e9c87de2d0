"""What an annotated field of a configuration accepts beyond its type: a range of numbers, a set of names."""

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
