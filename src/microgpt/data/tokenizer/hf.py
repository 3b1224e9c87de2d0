"""Subword tokenizers of the `tokenizers` library, as pretrained models use them.

A model folder contains the whole tokenizer.json. Needs numpy, and the extra `hf` to make one.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown, unknown_error
from microgpt.data.tokenizer.hf_format import BYTE_OF
from microgpt.errors import CheckpointError, MachineError, UsageError
from microgpt.files import read_capped
from microgpt.text import one_line, shown

LIMIT = 64 << 20
"Most bytes that a tokenizer.json may have."
END_TOKENS = ("<|endoftext|>", "</s>", "<|end_of_text|>")


class HFTokenizer(Tokenizer, name="hf"):
    """The tokenizer that a tokenizer.json describes, without the special tokens it may add around a text.

    Args:
        text: the content of the tokenizer.json.
        size: the vocabulary size, if the model padded it beyond the existing tokens.

    Raises:
        CheckpointError: the text describes no tokenizer.
        MachineError: the package `tokenizers` is not installed.
    """

    spans_characters = True
    is_learnt = False

    def __init__(self, text: str, size: int | None = None, unknown: Unknown = "error") -> None:
        super().__init__(unknown)
        self.text = text
        self.backend = _backend(text)
        self._tokens: dict[str, int] = self.backend.get_vocab(with_added_tokens=True)
        least = max(self._tokens.values(), default=-1) + 1
        if least == 0 or (size is not None and size < least):
            what = f"{least} tokens for a vocabulary of {size}" if least else "no tokens"
            raise CheckpointError(what, "the tokenizer", "take the tokenizer.json that belongs to the model")
        self._size = size or least
        self._unknown: dict[str, bool] = {}

    @classmethod
    def from_file(cls, path: Path, size: int | None = None) -> Self:
        """Read a tokenizer.json.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        try:
            return cls(read_capped(path, LIMIT).decode(), size)
        except FileNotFoundError:
            fix = "take the model from a folder that has one; a tokenizer.model or vocab.json alone is not read"
            raise CheckpointError("no such file", str(path), fix) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot be read ({error})", str(path), "copy the folder again") from None

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks, config  # its vocabulary was learnt elsewhere
        raise UsageError("a pretrained tokenizer", "data.tokenizer", "it comes with model.pretrained=...")

    @property
    def vocab_size(self) -> int:
        return self._size

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        ids = np.array(self.backend.encode(text, add_special_tokens=False).ids, dtype=self.dtype)
        if self._is_byte_level:
            return ids, Counter()
        lost = {c: text.count(c) for c in set(text) if self._is_unknown(c)}
        if lost and self.unknown == "error":
            first = min(map(text.index, lost))
            raise unknown_error(sorted(lost, key=text.index), offset + first, where)
        return ids, Counter(lost)

    def _is_unknown(self, character: str) -> bool:
        """Whether a character is encoded as nothing or as the unknown token."""
        if character not in self._unknown:
            ids = self.backend.encode(character, add_special_tokens=False).ids
            self._unknown[character] = not ids or self._stray in ids
        return self._unknown[character]

    def decode(self, ids: Any) -> str:
        """The text of the tokens; invalid UTF-8 becomes U+FFFD, and indices that pad the vocabulary are skipped."""
        known = [i for i in self._checked(ids).tolist() if i in self._names]
        text: str = self.backend.decode(known, skip_special_tokens=False)
        return text

    def settled(self, text: str) -> int:
        # Byte-level tokenizers always cut between a word and the space before the next. Others may need the whole text.
        if not self._is_byte_level:
            return 0
        space = len(text) - 1
        while (space := text.rfind(" ", 0, space)) > 0:
            if text[space - 1].isalpha() and text[space + 1].isalpha():
                return space
        return 0

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.zeros((2, self.vocab_size), np.int64)  # bytes and characters
        for i, name in self._names.items():
            data = self._bytes(i, name)
            lengths[:, i] = len(data), sum((byte & 0xC0) != 0x80 for byte in data)
        return lengths[0], lengths[1]

    def _bytes(self, i: int, name: str) -> bytes:
        """The UTF-8 bytes that a token stands for."""
        if i in self._added:
            return name.encode()
        if self._is_byte_level:
            return bytes(BYTE_OF[c] for c in name if c in BYTE_OF)
        if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            return bytes.fromhex(name[3:5])
        return name.replace("\u2581", " ").encode()

    def tokenizer_json(self) -> str:
        return self.text

    def end_token(self) -> tuple[int, str] | None:
        if self.ends:
            return self.ends[0], self._names.get(self.ends[0], "")
        return next(((self._tokens[name], name) for name in END_TOKENS if name in self._tokens), None)

    @cached_property
    def _names(self) -> dict[int, str]:
        return {i: name for name, i in self._tokens.items()}

    @cached_property
    def _description(self) -> dict[str, Any]:
        return dict(json.loads(self.text))

    @cached_property
    def _added(self) -> set[int]:
        return {token["id"] for token in self._description.get("added_tokens") or ()}

    @cached_property
    def _is_byte_level(self) -> bool:
        """Whether tokens are spelt in the byte alphabet, so that every text has tokens."""
        decoder = self._description.get("decoder") or {}
        return "ByteLevel" in (part.get("type") for part in (decoder, *decoder.get("decoders", ())))

    @cached_property
    def _stray(self) -> int | None:
        """The index of the unknown token."""
        return self._tokens.get(self._description.get("model", {}).get("unk_token"))

    def state(self) -> dict[str, Any]:
        return {"size": self.vocab_size, "json": self.text, **({"ends": list(self.ends)} if self.ends else {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        text, size, ends = values.get("json"), values.get("size"), values.get("ends", [])
        if not isinstance(text, str) or len(text) > LIMIT:
            raise CheckpointError("no text of a tokenizer.json", "the tokenizer")
        if type(size) is not int or not 0 < size <= 1 << 24:
            raise CheckpointError(f"size {shown(size)}", "the tokenizer", "it is a whole number")
        if not isinstance(ends, list) or not all(type(end) is int and 0 <= end < size for end in ends):
            raise CheckpointError(f"end tokens {shown(ends)}", "the tokenizer", "they are tokens of the vocabulary")
        return cls(text, size).with_ends(ends)


def _backend(text: str) -> Any:
    """The library's tokenizer for a tokenizer.json."""
    tokenizers = library()
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except BaseException as error:  # the library's panics are not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise CheckpointError(f"no tokenizer.json ({one_line(error, 150)})", "the tokenizer", "copy it again") from None
    backend.no_truncation()
    backend.no_padding()
    return backend


def library() -> Any:
    """The package `tokenizers`.

    Raises:
        MachineError: the package is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        what = "this tokenizer needs the package tokenizers, which is not installed"
        raise MachineError(what, "", "pip install 'microgpt[hf]'") from None
    return tokenizers
