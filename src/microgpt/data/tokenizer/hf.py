"""Subword tokenizers of the `tokenizers` library, as pretrained models use them.

A model folder contains the whole tokenizer.json. Needs numpy, and the extra `hf` to make one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown, unknown_error
from microgpt.data.tokenizer.hf_coverage import Coverage
from microgpt.errors import CheckpointError, UsageError
from microgpt.extras import package
from microgpt.files import read_capped
from microgpt.foreign import TOKENIZERS, refuse_foreign
from microgpt.text import one_line, shown

LIMIT = 64 << 20
"Most bytes that a tokenizer.json may have."
_SURROGATE = re.compile("[\ud800-\udfff]")
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
        self._coverage = Coverage(self.backend)

    @classmethod
    def from_file(cls, path: Path, size: int | None = None) -> Self:
        """Read a tokenizer.json.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        refuse_foreign(path if path.is_file() else path.parent, TOKENIZERS)
        try:
            return cls(read_capped(path, LIMIT).decode(), size)
        except FileNotFoundError:
            fix = "take the model from a folder that has one"
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

    @property
    def leaves_out_unknown(self) -> bool:
        return self.unknown == "skip" or self._coverage.unknown is None

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        halves = _SURROGATE.findall(text)  # the library takes none
        if halves and self.unknown == "error":
            raise unknown_error(halves, offset + text.index(halves[0]), where)
        text = _SURROGATE.sub("", text) if halves else text
        indices, lost = self._coverage.encode(text)
        unknown = [text[i] for i in lost]
        if unknown and self.unknown == "error":
            raise unknown_error(unknown, offset + lost[0], where)
        ids = np.array(indices, dtype=self.dtype)
        if unknown and self.unknown == "skip":
            ids = ids[ids != self._coverage.unknown]
        return ids, Counter([*halves, *unknown])

    def decode(self, ids: Any) -> str:
        """The text of the tokens; invalid UTF-8 becomes U+FFFD, and indices that pad the vocabulary are skipped."""
        known = [i for i in self._checked(ids).tolist() if i in self._names]
        text: str = self.backend.decode(known, skip_special_tokens=False)
        return text

    def settled(self, text: str) -> int:
        if not self._coverage.cuts_words:  # the tokens may depend on the whole text
            return 0
        space = len(text) - 1
        while (space := text.rfind(" ", 0, space)) > 0:
            if text[space - 1].isalpha() and text[space + 1].isalpha():
                return space
        return 0

    def tokenizer_json(self) -> str:
        return self.text

    def end_token(self) -> tuple[int, str] | None:
        if self.ends:
            return self.ends[0], self.token_name(self.ends[0])
        return next(((self._tokens[name], name) for name in END_TOKENS if name in self._tokens), None)

    def token_name(self, token: int) -> str:
        """The token as tokenizer.json has it; "" for one that pads the vocabulary."""
        return self._names.get(token, "")

    @cached_property
    def _names(self) -> dict[int, str]:
        return {i: name for name, i in self._tokens.items()}

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
    tokenizers = package("tokenizers", "hf", "this tokenizer")
    try:
        backend = tokenizers.Tokenizer.from_str(text)
    except BaseException as error:  # the library's panics are not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise CheckpointError(f"no tokenizer.json ({one_line(error, 150)})", "the tokenizer", "copy it again") from None
    backend.no_truncation()
    backend.no_padding()
    if getattr(backend.model, "dropout", None) is not None:
        backend.model.dropout = None  # it would draw other tokens each time
    return backend
