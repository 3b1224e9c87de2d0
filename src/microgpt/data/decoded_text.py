"""A source's text or an excerpt of it, decoded piece by piece as often as needed. Needs no torch."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from microgpt.data.sources import Source


@dataclass(frozen=True)
class DecodedText:
    """A source's decoded text, or an excerpt of it.

    Attributes:
        errors: how to treat undecodable bytes, as in `bytes.decode`.
        sha256: of the source's bytes.
        sizes: of the source's files, in bytes.
        low, high: the first character of the excerpt and the one after its last; None for the whole text.
    """

    source: Source
    encoding: str
    errors: str
    sha256: str
    sizes: tuple[int, ...]
    low: int = 0
    high: int | None = None

    @classmethod
    def of(cls, source: Source, encoding: str, errors: str) -> Self:
        """The whole text of a source; reads it once to hash it."""
        return cls(source, encoding, errors, *source.digest())

    @property
    def name(self) -> str:
        """The source's name: a corpus or a path."""
        return self.source.name

    @property
    def is_empty(self) -> bool:
        """Whether the text has no character; reads only its first piece."""
        return next(self.pieces(), None) is None

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything that the characters depend on."""
        whole = (self.sha256, self.sizes, self.encoding)
        return whole if self.high is None else (*whole, self.low, self.high)

    def __len__(self) -> int:
        return sum(map(len, self.pieces()))

    def pieces(self) -> Iterator[str]:
        """Yield the text in nonempty pieces of at most a few hundred thousand characters.

        Raises:
            DataError: a file is unreadable, or not in the encoding.
        """
        position = 0
        for text in self.source.texts(self.encoding, self.errors):
            if self.high is not None and position >= self.high:
                return
            part = text[max(0, self.low - position) : None if self.high is None else self.high - position]
            position += len(text)
            if part:
                yield part

    def excerpts(self, bounds: Sequence[int]) -> list[Self]:
        """The excerpts between consecutive `bounds`, in characters of the whole text."""
        return [replace(self, low=low, high=high) for low, high in itertools.pairwise(bounds)]
