"""Integers that stand for themselves: tokens made elsewhere, music, moves, measurements. Needs only numpy."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer
from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.text import shown

MOST = 1 << 24
"""The largest vocabulary."""


class TokenIds(Tokenizer, name="tokens"):
    """The indices 0 to `size` - 1, written as numbers with spaces between them: `17 4 0 981`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks, config  # tokens are read from files of numbers, without a text
        raise UsageError("tokens are no text", "data.tokenizer", "name a file of them: data=tokens data.path=ids.npy")

    @property
    def vocab_size(self) -> int:
        return self.size

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        """The numbers in `text`.

        Raises:
            DataError: a word is no index, whatever `unknown` says.
        """
        del offset
        words = text.split()
        for word in words:
            if not (word.isascii() and word.isdecimal() and len(word) < 12 and int(word) < self.size):
                fix = f"write indices from 0 to {self.size - 1}, with spaces between them"
                raise DataError(f"{shown(word)} is no token of this vocabulary", where or "the prompt", fix)
        return np.array([int(word) for word in words], self.dtype), Counter()

    def decode(self, ids: Any) -> str:
        return " ".join(map(str, self._checked(ids).tolist()))

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """1 for each: bits per character and per byte are bits per token."""
        return np.ones(self.size, np.int64), np.ones(self.size, np.int64)

    def state(self) -> dict[str, Any]:
        return {"size": self.size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        size = values.get("size")
        if type(size) is not int or not 0 < size <= MOST:
            raise CheckpointError(f"size {shown(size)}", "the tokenizer", "it is the number of tokens")
        return cls(size)
