"""Base class of the tokenizers, and their JSON form. Needs only numpy."""

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

import numpy as np

from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.registry import Part
from microgpt.text import did_you_mean, shown

Unknown = Literal["error", "skip", "replace"]
"""What to do with a character outside the vocabulary: stop, leave it out, or replace it."""

PRETRAINED = "pretrained"
"""The value of `data.tokenizer` that stands for the pretrained model's own tokenizer."""
FORMAT = 1
_NAMED = 5


class FitKnobs(Protocol):
    """The knobs of `data` that `Tokenizer.fit` may use."""

    @property
    def vocab_size(self) -> int | None:
        """The most tokens that a tokenizer of subwords may learn."""

    @property
    def unknown(self) -> Unknown:
        """The policy for characters outside the vocabulary."""


class Tokenizer(Part, ABC, family="tokenizer"):
    """Convert text to indices `0 .. vocab_size - 1` and back; a subclass with `name=` is a choice of `data.tokenizer`.

    Its name is the `type` in a model folder's tokenizer.json. Add a tokenizer as a file beside this one, or your own:
    train with `imports=[mine.py] data.tokenizer=mine`, and open the model elsewhere with `--import mine.py`.

    Args:
        unknown: how to treat characters outside the vocabulary: "error", "skip" or "replace".
    """

    decoding_errors: ClassVar[str] = "strict"
    """How to treat undecodable bytes in files, as in `bytes.decode`."""
    spans_characters: ClassVar[bool] = False
    """Whether a token may stand for several characters. If so, the text is split by characters, at the same ones for
    every such tokenizer, and `fit` sees only the training split."""
    is_learnt: ClassVar[bool] = True
    """Whether `fit` can build the tokenizer from a text, and a user can choose it."""

    ends: tuple[int, ...] = ()
    """The tokens at which the model ends a text, where its files say so."""

    def __init__(self, unknown: Unknown = "error") -> None:
        if unknown not in get_args(Unknown):
            raise UsageError(f"no such choice {unknown!r}", "unknown", did_you_mean(str(unknown), get_args(Unknown)))
        self.unknown = unknown

    @classmethod
    def choices(cls) -> list[str]:
        """The possible values of `data.tokenizer`."""
        return [*(name for name, member in cls.members.items() if member.is_learnt), PRETRAINED]

    @classmethod
    @abstractmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
        """Fit a tokenizer to a text that comes in pieces, in one pass."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """The number of tokens."""

    @abstractmethod
    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        """Encode `text`: its indices (n,) in the smallest integer type, and the counts of its unknown characters.

        Args:
            where: the text's name in errors.
            offset: the position of its first character in the whole text, for errors.

        Raises:
            DataError: `unknown` is "error" and the text has characters outside the vocabulary.
        """

    @abstractmethod
    def decode(self, ids: Any) -> str:
        """Decode a list, array or tensor of indices to text.

        Raises:
            DataError: an index is outside the vocabulary.
        """

    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Each token's length in UTF-8 bytes (V,) and in characters (V,), to convert nats per token to bits.

        A tokenizer whose tokens may span characters needs none: the characters of the text itself are counted.
        """
        raise TypeError(f"tokens of {type(self).__name__} have no length of their own")

    @property
    def leaves_out_unknown(self) -> bool:
        """Whether unknown characters are left out of the indices, rather than replaced."""
        return self.unknown == "skip"

    def state(self) -> dict[str, Any]:
        """Everything that `from_dict` needs, such as the vocabulary, as plain data for JSON."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild the tokenizer from its untrusted `state`; the caller has checked the type and version."""
        del values  # the base class has no state
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """The tokenizer as plain data for JSON, which `tokenizer_from_dict` reads."""
        return {"type": self.name, "format": FORMAT, **self.state()}

    def tokenizer_json(self) -> str:
        """A tokenizer.json that makes the `tokenizers` library give the same indices, for exports to Hugging Face.

        It leaves out characters outside the vocabulary.

        Raises:
            UsageError: the library cannot express this tokenizer; says why.
        """
        what = f"a tokenizer of kind {self.name!r}, which has no tokenizer.json"
        raise UsageError(what, "the tokenizer", "export with --format safetensors")

    def end_token(self) -> tuple[int, str] | None:
        """The index and name of the token that ends a text, or None."""
        return None

    def start_token(self) -> tuple[int, str] | None:
        """The index and name of the token that starts a text, or None."""
        return None

    def end_tokens(self) -> tuple[int, ...]:
        """The indices of all tokens at which a text ends: `ends`, or else the one of `end_token`."""
        end = self.end_token()
        return self.ends or ((end[0],) if end else ())

    def with_ends(self, ends: Iterable[int]) -> Self:
        """The same tokenizer for a model that ends a text at these tokens."""
        twin = copy.copy(self)
        twin.ends = tuple(dict.fromkeys(ends))
        return twin

    def encode(self, text: str) -> list[int]:
        """Encode `text` as a list of indices.

        Raises:
            DataError: `unknown` is "error" and the text has characters outside the vocabulary.
        """
        indices: list[int] = self.encode_array(text).tolist()
        return indices

    def prompt(self, text: str) -> list[int]:
        """The tokens from which a model continues a text: `encode`, after the token that starts a text, if any."""
        return self.encode(text)

    def encode_array(self, text: str) -> np.ndarray:
        """Encode `text` as an array (n,) of the smallest integer type that holds the vocabulary."""
        return self.encode_counted(text)[0]

    def settled(self, text: str) -> int:
        """The number of leading characters of `text` whose indices do not depend on what follows."""
        return len(text)

    def with_unknown(self, unknown: Unknown) -> Self:
        """The same tokenizer with another policy for unknown characters."""
        Tokenizer.__init__(twin := copy.copy(self), unknown)
        return twin

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds every index."""
        return np.min_scalar_type(self.vocab_size - 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"

    def _checked(self, ids: Any) -> np.ndarray:
        """`ids` as a flat integer array, checked against the vocabulary."""
        if hasattr(ids, "detach"):  # a tensor, on any device
            ids = ids.detach().cpu().numpy()
        array = np.asarray(ids).reshape(-1)
        if array.size == 0:
            return np.empty(0, np.int64)
        if array.dtype.kind not in "iu":
            raise DataError(f"indices of type {array.dtype}", "decode", "pass whole numbers")
        outside = array[(array < 0) | (array >= self.vocab_size)]
        if outside.size:
            raise DataError(
                f"index {outside[0]}", "decode", f"this vocabulary has the indices 0 to {self.vocab_size - 1}"
            )
        return array


def tokenizer_from_dict(values: Any, unknown: Unknown = "error") -> Tokenizer:
    """Rebuild a tokenizer from its `to_dict`; `values` is untrusted and fully checked.

    Raises:
        CheckpointError: the type is unknown, the version newer, or the vocabulary malformed.
    """
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{type(values).__name__} where a mapping is needed", "the tokenizer")
    kind, version = values.get("type"), values.get("format")
    if not isinstance(kind, str) or kind not in Tokenizer.members:
        fix = "import the file that defines it (--import FILE, or imports=[FILE] in training)"
        raise CheckpointError(f"no tokenizer {shown(kind)} is known", "tokenizer.json", fix)
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(f"format {shown(version)}", "the tokenizer", f"this version reads format {FORMAT}")
    return Tokenizer.named(kind).from_dict(values).with_unknown(unknown)


def unknown_error(characters: Iterable[str], position: int, where: str) -> DataError:
    """The error for characters outside the vocabulary, in their order of appearance."""
    known = list(dict.fromkeys(characters))
    names = ", ".join(f"{c!r} U+{ord(c):04X}" for c in known[:_NAMED])
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    noun = "character" if len(known) == 1 else "characters"
    return DataError(
        f"{noun} outside the vocabulary: {names}{more}, the first at position {position}",
        where or "the text",
        "leave them out: a model knows those of its training text; data.unknown=skip or replace is for a text of data",
    )
