"""A part of a text, by places in its characters. Needs no torch."""

from collections.abc import Iterator
from dataclasses import dataclass

from microgpt.data.sources import Source


@dataclass(frozen=True)
class Excerpt:
    """The characters `low` to `high` of a source."""

    source: Source
    low: int
    high: int

    @property
    def name(self) -> str:
        return self.source.name

    def texts(self, encoding: str, errors: str = "strict") -> Iterator[str]:
        """The excerpt in pieces, as `Source.texts` gives the whole."""
        position = 0
        for text in self.source.texts(encoding, errors):
            if position >= self.high:
                return
            part = text[max(0, self.low - position) : self.high - position]
            position += len(text)
            if part:
                yield part
