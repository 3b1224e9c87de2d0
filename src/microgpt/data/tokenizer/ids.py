"""Tokens written as numbers, for data that is no text: moves, music, measurements, tokens made elsewhere.

Needs only numpy.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown
from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.text import shown

LARGEST = 1 << 24
"""The largest vocabulary."""


class IdsTokenizer(Tokenizer, name="ids"):
    """Tokens as numbers with spaces between them: `3 17 4`. Each counts as one character and one byte.

    `data=tokens` reads files of them, and `microgpt.fit` uses it for arrays without a tokenizer.
    """

    def __init__(self, vocab_size: int, unknown: Unknown = "error") -> None:
        super().__init__(unknown)
        self._size = vocab_size

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks, config  # tokens are read from files of numbers, without a text
        raise UsageError("tokens are no text", "data.tokenizer", "name a file of them: data=tokens data.path=ids.npy")

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        """The numbers in `text`; under the policies "skip" and "replace", other words are left out.

        Raises:
            DataError: `unknown` is "error" and a word is no token.
        """
        del offset
        words = text.split()
        strange = [word for word in words if not self._is_token(word)]
        if strange and self.unknown == "error":
            fix = f"write numbers from 0 to {self._size - 1}, with spaces between them"
            raise DataError(f"{shown(strange[0])} is no token of this vocabulary", where or "the prompt", fix)
        return np.array([int(word) for word in words if self._is_token(word)], self.dtype), Counter()

    def _is_token(self, word: str) -> bool:
        return word.isascii() and word.isdecimal() and len(word) < 12 and int(word) < self._size

    def decode(self, ids: Any) -> str:
        return " ".join(map(str, self._checked(ids).tolist()))

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(self._size, np.int64), np.ones(self._size, np.int64)

    def state(self) -> dict[str, Any]:
        return {"vocab_size": self._size}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        size = values.get("vocab_size")
        if type(size) is not int or not 1 <= size <= LARGEST:
            raise CheckpointError("a vocabulary of no size", "tokenizer.json", "copy the folder again")
        return cls(size)
