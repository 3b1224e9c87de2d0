"""Find the characters that a tokenizer of the `tokenizers` library cannot represent.

A model without an unknown token drops such characters, or fails. A twin of the tokenizer, given an unknown token, shows
where they were.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from microgpt.data.tokenizer.hf_format import ALPHABET
from microgpt.errors import DataError
from microgpt.text import one_line

_STAND_IN = "\0unknown"
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_WORDS = [("ab cd", " ef gh"), ("a bcde", " fgh i"), ("AB CD", " EF GH"), ("аб вг", " де жз"), ("éü ñø", " çå ßœ"),
          ("日本 語文", " 字中 国人")]  # fmt: skip
"""Four words in several scripts, with the cut that is tried between the second and the third."""
_HARMLESS = {"NFC", "NFD"}
"""Normalizers that remove nothing."""


class Coverage:
    """What a tokenizer represents.

    Args:
        backend: the library's tokenizer.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self._is_dropped: dict[str, bool] = {}

    @cached_property
    def _description(self) -> dict[str, Any]:
        return dict(json.loads(self.backend.to_str()))

    @property
    def _model(self) -> dict[str, Any]:
        return dict(self._description["model"])

    @cached_property
    def unknown(self) -> int | None:
        """The index of the model's unknown token, if it has one."""
        if "unk_id" in self._model:
            index = self._model["unk_id"]
            return index if index is None else int(index)
        unknown = self._model.get("unk_token")
        index = None if unknown is None else self.backend.token_to_id(unknown)
        return None if index is None else int(index)

    @cached_property
    def is_total(self) -> bool:
        """Whether every character has tokens: the model spells unknown ones in bytes, and nothing removes any."""
        normalizers = {str(part["type"]) for part in _parts(self._description["normalizer"])}
        cutters = list(_parts(self._description["pre_tokenizer"]))
        removes = any(part.get("behavior") == "Removed" or part["type"] == "CharDelimiterSplit" for part in cutters)
        return self._spells_bytes and not self._fails and not removes and normalizers <= {*_HARMLESS, "ByteLevel"}

    @cached_property
    def _spells_bytes(self) -> bool:
        """Whether the model has a token for every byte, and uses them."""
        model, vocab = self._model, self.backend.get_vocab(with_added_tokens=False)
        if model.get("byte_fallback"):
            return all(name in vocab for name in _BYTES)
        parts = [*_parts(self._description["pre_tokenizer"]), *_parts(self._description["normalizer"])]
        is_spelt_whole = not model.get("continuing_subword_prefix") and not model.get("end_of_word_suffix")
        is_byte_level = model["type"] == "BPE" and is_spelt_whole and "ByteLevel" in (part["type"] for part in parts)
        return is_byte_level and all(letter in vocab for letter in ALPHABET)

    @cached_property
    def cuts_words(self) -> bool:
        """Whether a text is always cut between a word and the space before the next, whatever surrounds them."""
        if any(" " in token["content"] or token["lstrip"] or token["rstrip"] for token in self._added):
            return False
        if not self._spells_bytes or (cutter := self.backend.pre_tokenizer) is None:
            return False
        normalizer = self.backend.normalizer
        normal = normalizer.normalize_str if normalizer is not None else str
        for before, after in _WORDS:
            texts = map(normal, (before, after, before + after))
            cut = [[piece for piece, _ in cutter.pre_tokenize_str(text)] for text in texts]
            if len(cut[2]) != 4 or cut[0] + cut[1] != cut[2]:
                return False
        return True

    @property
    def _added(self) -> list[dict[str, Any]]:
        return list(self._description["added_tokens"])

    def encode(self, text: str) -> tuple[list[int], list[int]]:
        """The tokens of a text, and the positions of the characters that have no token or the unknown one, in order.

        White space and combining marks that the tokenizer leaves out on purpose do not count.

        Raises:
            DataError: the library fails; some added tokens beside letters of several bytes make it panic.
        """
        if self.is_total:
            return list(_encoded(self.backend, text).ids), []
        encoding = _encoded(self._probe, text)
        if self._probe is self.backend:
            ids = encoding.ids
        elif self._fails:
            ids = [self._index_of[index] for index in encoding.ids if index != self._unknown_of_probe]
        else:  # the letters around a dropped one may merge
            ids = _encoded(self.backend, text).ids
        return list(ids), self._lost(text, encoding)

    def _lost(self, text: str, encoding: Any) -> list[int]:
        unknown = self._unknown_of_probe
        if unknown not in encoding.ids and not any(map(self._vanishes, set(text))):
            return []
        known, is_lost = bytearray(len(text)), bytearray(len(text))
        for index, (begin, end) in zip(encoding.ids, encoding.offsets, strict=True):
            (is_lost if index == unknown else known)[begin:end] = b"\1" * (end - begin)
        return [i for i, c in enumerate(text) if is_lost[i] or not (known[i] or _may_vanish(c))]

    def _vanishes(self, character: str) -> bool:
        """Whether a character that should have a token has none when it stands alone."""
        if character not in self._is_dropped:
            is_dropped = not _may_vanish(character) and not _encoded(self._probe, character).ids
            self._is_dropped[character] = is_dropped
        return self._is_dropped[character]

    @cached_property
    def _fails(self) -> bool:
        """Whether the model raises an error at an unknown character."""
        drops = self._model["type"] == "BPE" and self._model["unk_token"] is None
        return self.unknown is None and not drops  # Unigram does so even where it would spell the character in bytes

    @cached_property
    def _probe(self) -> Any:
        """The tokenizer itself if it has an unknown token, else its twin with one."""
        if self.unknown is not None:
            return self.backend
        description, model = self._description, self._model
        if model["type"] == "Unigram":
            lowest = min((score for _, score in model["vocab"]), default=0.0)
            twin = {**model, "vocab": [*model["vocab"], [_STAND_IN, lowest]], "unk_id": len(model["vocab"])}
        else:
            index = max(model["vocab"].values(), default=-1) + 1
            twin = {**model, "vocab": {**model["vocab"], _STAND_IN: index}, "unk_token": _STAND_IN, "fuse_unk": False}
        return type(self.backend).from_str(json.dumps({**description, "model": twin}))

    @cached_property
    def _index_of(self) -> dict[int, int]:
        """The twin's indices -> the tokenizer's: the library numbers added tokens anew, behind the model's."""
        theirs = self._probe.get_vocab(with_added_tokens=True)
        return {theirs[name]: index for name, index in self.backend.get_vocab(with_added_tokens=True).items()}

    @cached_property
    def _unknown_of_probe(self) -> int:
        return int(self.unknown if self.unknown is not None else self._probe.token_to_id(_STAND_IN))


def _encoded(backend: Any, text: str) -> Any:
    """The library's encoding of a text."""
    try:
        return backend.encode(text, add_special_tokens=False)
    except BaseException as error:  # the library's panics are not an Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        what = f"the tokenizers library fails ({one_line(error, 150)})"
        raise DataError(what, "the text", "try a newer version of it, or another tokenizer") from None


def _parts(part: Any) -> Iterator[Mapping[str, Any]]:
    """The description of a normalizer or pre-tokenizer, or of each in a sequence."""
    if isinstance(part, Mapping):
        if part.get("type") != "Sequence":
            yield part
        for key in ("normalizers", "pretokenizers"):
            for inner in part.get(key) or ():
                yield from _parts(inner)


def _may_vanish(character: str) -> bool:
    """Whether a tokenizer may leave the character out on purpose: cuts stand for spaces, and composed letters for
    marks."""
    return character.isspace() or unicodedata.category(character).startswith("M")
