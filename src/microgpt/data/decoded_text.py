"""A source's text as characters, or an excerpt of it: read in pieces, as often as needed. Needs no torch."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from microgpt.data.sources import Source


@dataclass(frozen=True)
class DecodedText:
    """A source in its encoding.

    Attributes:
        errors: what becomes of bytes that are not in the encoding, as `bytes.decode` names it.
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
        """The whole text of a source, which is read once for its hash."""
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
        """What its characters depend on."""
        whole = (self.sha256, self.sizes, self.encoding)
        return whole if self.high is None else (*whole, self.low, self.high)

    def __len__(self) -> int:
        return sum(map(len, self.pieces()))

    def pieces(self) -> Iterator[str]:
        """The text in pieces of a few hundred thousand characters at most, none of them empty.

        Raises:
            DataError: a file cannot be read, or is not in that encoding.
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
        """The excerpts of the whole text between each two neighbours of `bounds`, in characters."""
        return [replace(self, low=low, high=high) for low, high in itertools.pairwise(bounds)]
