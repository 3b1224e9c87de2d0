"""A text's tokens as they are shown: each as a string, with its number of characters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from microgpt.data.tokenizer import Tokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.errors import UsageError
from microgpt.text import cut, printable

VISIBLE = {"\n": "⏎", "\t": "⇥", " ": "␣"}
"""Symbols for white space, where a token stands alone."""


def characters(ids: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The number of characters that each token adds to its text; the tokens of a byte-level character count once."""
    texts = tokenizer.inner if isinstance(tokenizer, DocumentTokenizer) else tokenizer
    if type(texts).token_lengths is not Tokenizer.token_lengths:
        lengths = tokenizer.token_lengths()[1]
        return [int(lengths[i]) for i in ids]
    ends = [len(tokenizer.decode(ids[:n])) for n in range(len(ids) + 1)]
    return [b - a for a, b in pairwise(ends)]


@dataclass(frozen=True, repr=False)
class Text:
    """The tokens of a text, and the way to show others of the vocabulary."""

    tokens: tuple[str, ...]
    "Each token as a string; half of a character is U+FFFD."
    characters: tuple[int, ...]
    "Each token's number of characters."
    decode: Callable[[int], str]
    encode: Callable[[str], Sequence[int]]

    def __repr__(self) -> str:
        return f"Text({cut(''.join(self.tokens), 40)!r})"

    @classmethod
    def of_ids(cls, ids: Sequence[int]) -> "Text":
        """Tokens without a tokenizer: each is shown as its index, and counts as a character."""
        return cls(tuple(f"{i} " for i in ids), (1,) * len(ids), str, lambda text: [int(text)])

    @classmethod
    def of(cls, ids: Sequence[int], tokenizer: Tokenizer) -> "Text":
        """Tokens of a tokenizer."""

        def decode(i: int) -> str:
            return tokenizer.decode([i])

        return cls(tuple(map(decode, ids)), tuple(characters(ids, tokenizer)), decode, tokenizer.encode)

    def label(self, index: int) -> str:
        """A token of the vocabulary, visible on its own."""
        return visible(self.decode(index))

    def labels(self) -> list[str]:
        """The text's tokens, each visible on its own."""
        return [visible(token) for token in self.tokens]

    def index(self, token: str) -> int:
        """The index of a token given as a string.

        Raises:
            UsageError: it is not exactly one token.
            DataError: the tokenizer does not know a character.
        """
        try:
            ids = list(self.encode(token))
        except ValueError:
            ids = []
        if len(ids) != 1:
            raise UsageError(f"{token!r} is {len(ids)} tokens", "the trace", "name one token, or give its index")
        return int(ids[0])


def visible(token: str) -> str:
    """A token with symbols for its white space, safe to show."""
    return "".join(VISIBLE.get(c, c) for c in printable(token)) or "∅"


def runs(levels: np.ndarray) -> list[tuple[int, int, int]]:
    """The runs of equal numbers in (T,): (start, end, number)."""
    edges = np.flatnonzero(np.diff(levels)) + 1
    starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(levels)]
    return [(start, end, int(levels[start])) for start, end in zip(starts, ends, strict=True)]
