"""A tokenizer for documents: another one, with a token before and a token after each document. Needs only numpy."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from microgpt.data.document_format import DocumentFormat
from microgpt.data.tokenizer.base import FitKnobs, Tokenizer, Unknown, tokenizer_from_dict
from microgpt.errors import CheckpointError, UsageError

START, END = "<|start|>", "<|end|>"
"""The names of the two tokens in an exported tokenizer.json."""


class DocumentTokenizer(Tokenizer, name="documents"):
    """The tokens of `inner`, then `start` and `end`, the last two of the vocabulary.

    No text encodes to the two tokens. A prompt begins with `start`, and generation ends at `end`.

    Args:
        inner: encodes the text of a document.
        form: how the texts divide that the model was trained on.
    """

    is_learnt = False

    def __init__(self, inner: Tokenizer, form: DocumentFormat) -> None:
        super().__init__(inner.unknown)
        self.inner, self.form = inner, form
        self.start, self.end = inner.vocab_size, inner.vocab_size + 1

    @classmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        del chunks, config  # another tokenizer is fitted and wrapped
        raise UsageError("the tokenizer of documents", "data.tokenizer", "choose data.documents, and what a token is")

    @property
    def vocab_size(self) -> int:
        return self.inner.vocab_size + 2

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
        if array.max(initial=0) < self.start:
            return self.inner.decode(array)
        array = array[array != self.start]
        ends = np.flatnonzero(array == self.end).tolist()
        bounds = zip([0, *(end + 1 for end in ends)], [*ends, len(array)], strict=True)
        return "\n".join(self.inner.decode(array[low:high]) for low, high in bounds)

    def start_token(self) -> tuple[int, str] | None:
        return self.start, START

    def end_token(self) -> tuple[int, str] | None:
        return self.end, END

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        n_bytes, n_chars = self.inner.token_lengths()
        return np.append(n_bytes, [0, 0]), np.append(n_chars, [0, 0])

    def settled(self, text: str) -> int:
        return self.inner.settled(text)

    def with_unknown(self, unknown: Unknown) -> Self:
        twin = super().with_unknown(unknown)
        twin.inner = self.inner.with_unknown(unknown)
        return twin

    def state(self) -> dict[str, Any]:
        return {"inner": self.inner.to_dict(), "documents": self.form.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        inner = values.get("inner")
        if not isinstance(inner, Mapping) or inner.get("type") == cls.name:
            raise CheckpointError("no tokenizer of the documents' texts", "the tokenizer", "copy the folder again")
        return cls(tokenizer_from_dict(inner), DocumentFormat.from_dict(values.get("documents")))

    def tokenizer_json(self) -> str:
        description = json.loads(self.inner.tokenizer_json())
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        taken = {token["content"] for token in description["added_tokens"]} | set(description["model"]["vocab"])
        if taken & {START, END}:
            fix = "export with --format safetensors"
            raise UsageError(f"the vocabulary has {START} or {END} of its own", "the tokenizer", fix)
        for index, name in ((self.start, START), (self.end, END)):
            description["added_tokens"].append({"id": index, "content": name, **flags, "special": True})
        start = {"SpecialToken": {"id": START, "type_id": 0}}
        description["post_processor"] = {  # other programs begin a prompt with the start token, too
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {START: {"id": START, "ids": [self.start], "tokens": [START]}},
        }
        return json.dumps(description, ensure_ascii=False, indent=1)
