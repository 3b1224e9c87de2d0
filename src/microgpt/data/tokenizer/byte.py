"""The tokenizer of bytes: 256 indices, and no character is unknown. Needs numpy alone."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer
from microgpt.data.tokenizer.hf_format import ALPHABET, letters_json


class ByteTokenizer(Tokenizer, name="byte"):
    """The UTF-8 bytes of the text. Bytes that are not UTF-8 are read as they stand, so that any file can be learnt."""

    decoding_errors = "surrogateescape"

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks  # the vocabulary is the same for every text
        return cls(config.unknown)

    @property
    def vocab_size(self) -> int:
        return 256

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # lone surrogates that stand for no byte
            data = text.encode("utf-8", "surrogatepass")
        return np.frombuffer(bytearray(data), np.uint8), Counter()

    def decode(self, ids: Any) -> str:
        """The text of the bytes; a sequence that is no UTF-8 becomes U+FFFD."""
        data: bytes = self._checked(ids).astype(np.uint8).tobytes()
        return data.decode("utf-8", "replace")

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        starts_character = (np.arange(256) & 0xC0) != 0x80
        return np.ones(256, np.int64), starts_character.astype(np.int64)

    def tokenizer_json(self) -> str:
        coder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        return letters_json({c: i for i, c in enumerate(ALPHABET)}, coder, coder)
