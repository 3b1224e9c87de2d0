"""Tokens written as numbers, for data that is no text. Needs only numpy."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown, unknown_error
from microgpt.errors import CheckpointError, UsageError

LARGEST = 1 << 24


class IdsTokenizer(Tokenizer, name="ids"):
    """Tokens as numbers separated by spaces: `"3 17 4 "`. Each counts as one character.

    `microgpt.fit` uses it for arrays without a tokenizer.
    """

    is_learnt = False

    def __init__(self, vocab_size: int, unknown: Unknown = "error") -> None:
        super().__init__(unknown)
        self._size = vocab_size

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks, config
        raise UsageError("tokens without a text", "data.tokenizer", "use microgpt.fit(model, ids)")

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        words = text.split()
        known = [int(word) for word in words if word.isdecimal() and int(word) < self._size]
        if len(known) < len(words) and self.unknown == "error":
            strange = next(word for word in words if not word.isdecimal() or int(word) >= self._size)
            raise unknown_error(strange, offset + text.index(strange), where)
        return np.array(known, self.dtype), Counter()

    def decode(self, ids: Any) -> str:
        return "".join(f"{number} " for number in self._checked(ids).tolist())

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
