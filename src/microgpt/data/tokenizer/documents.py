"""A tokenizer for documents: another one, with a token before and a token after each document. Needs only numpy."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from microgpt.data.document_format import DocumentFormat
from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown, tokenizer_from_dict
from microgpt.data.tokenizer.hf import HFTokenizer
from microgpt.errors import CheckpointError, UsageError
from microgpt.text import shown

START, END = "<|start|>", "<|end|>"
"""The names of two tokens of our own in an exported tokenizer.json."""


class DocumentTokenizer(Tokenizer, name="documents"):
    """The tokens of `inner`, and the two that stand before and after a document.

    No document encodes to the two tokens. A prompt begins with `start`, and generation ends at `end`.

    Args:
        inner: encodes the text of a document.
        form: how the texts divide that the model was trained on.
        boundaries: the tokens of `inner` that start and end a document, which may be one; None adds two to the
            vocabulary.
    """

    is_learnt = False

    def __init__(self, inner: Tokenizer, form: DocumentFormat, boundaries: tuple[int, int] | None = None) -> None:
        super().__init__(inner.unknown)
        self.inner, self.form, self.boundaries = inner, form, boundaries
        self.start, self.end = boundaries or (inner.vocab_size, inner.vocab_size + 1)
        if boundaries:
            self.ends = tuple(dict.fromkeys((self.end, *inner.end_tokens())))

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks, config  # another tokenizer is fitted and wrapped
        raise UsageError("the tokenizer of documents", "data.tokenizer", "choose data.documents, and what a token is")

    @property
    def vocab_size(self) -> int:
        return self.inner.vocab_size + (0 if self.boundaries else 2)

    @property
    def leaves_out_unknown(self) -> bool:
        return self.inner.leaves_out_unknown

    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        ids, unknown = self.inner.encode_counted(text, where=where, offset=offset)
        return ids.astype(self.dtype, copy=False), unknown

    def prompt(self, text: str) -> list[int]:
        return [self.start, *self.encode(text)]

    def decode(self, ids: Any) -> str:
        """The text of the tokens; a document's end becomes a line feed."""
        array = self._checked(ids)
        is_start, is_end = self._bounds(array)
        if not is_start.any() and not is_end.any():
            return self.inner.decode(array)
        array, is_end = array[~is_start], is_end[~is_start]
        ends = np.flatnonzero(is_end).tolist()
        bounds = zip([0, *(end + 1 for end in ends)], [*ends, len(array)], strict=True)
        return "\n".join(self.inner.decode(array[low:high]) for low, high in bounds)

    def _bounds(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which tokens start a document, and which end one: bool (n,). One token for both starts one at the beginning,
        and after an end."""
        is_start, is_end = array == self.start, array == self.end
        if self.start == self.end:
            for place in np.flatnonzero(is_start).tolist():
                is_start[place] = place == 0 or is_end[place - 1]
                is_end[place] = not is_start[place]
        return is_start, is_end

    @property
    def names(self) -> tuple[str, str]:
        """The names of the start and the end token."""
        if self.boundaries and isinstance(self.inner, HFTokenizer):
            return self.inner.token_name(self.start), self.inner.token_name(self.end)
        return START, END

    def start_token(self) -> tuple[int, str] | None:
        return self.start, self.names[0]

    def end_token(self) -> tuple[int, str] | None:
        return self.end, self.names[1]

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        n_bytes, n_chars = self.inner.token_lengths()
        if self.boundaries:
            return n_bytes, n_chars
        return np.append(n_bytes, [0, 0]), np.append(n_chars, [0, 0])

    def settled(self, text: str) -> int:
        return self.inner.settled(text)

    def with_unknown(self, unknown: Unknown) -> Self:
        twin = super().with_unknown(unknown)
        twin.inner = self.inner.with_unknown(unknown)
        return twin

    def state(self) -> dict[str, Any]:
        own = {"boundaries": list(self.boundaries)} if self.boundaries else {}
        return {"inner": self.inner.to_dict(), "documents": self.form.to_dict(), **own}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        inner = values.get("inner")
        if not isinstance(inner, Mapping) or inner.get("type") == cls.name:
            raise CheckpointError("no tokenizer of the documents' texts", "the tokenizer", "copy the folder again")
        tokenizer, pair = tokenizer_from_dict(inner), values.get("boundaries")
        if pair is None:
            return cls(tokenizer, DocumentFormat.from_dict(values.get("documents")))
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(type(token) is int and 0 <= token < tokenizer.vocab_size for token in pair):
            raise CheckpointError(f"boundaries {shown(pair)}", "the tokenizer", "they are two tokens of the vocabulary")
        return cls(tokenizer, DocumentFormat.from_dict(values.get("documents")), (pair[0], pair[1]))

    def tokenizer_json(self) -> str:
        description = json.loads(self.inner.tokenizer_json())
        if not self.boundaries:
            self._add_boundaries(description)
        name = self.names[0]
        start = {"SpecialToken": {"id": name, "type_id": 0}}
        description["post_processor"] = {  # other programs begin a prompt with the start token, too
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {name: {"id": name, "ids": [self.start], "tokens": [name]}},
        }
        return json.dumps(description, ensure_ascii=False, indent=1)

    def _add_boundaries(self, description: dict[str, Any]) -> None:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        taken = {token["content"] for token in description["added_tokens"]} | set(description["model"]["vocab"])
        if taken & {START, END}:
            fix = "export with --format safetensors"
            raise UsageError(f"the vocabulary has {START} or {END} of its own", "the tokenizer", fix)
        for index, name in ((self.start, START), (self.end, END)):
            description["added_tokens"].append({"id": index, "content": name, **flags, "special": True})
