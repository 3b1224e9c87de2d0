"""What every tokenizer is, and how one is read back from its JSON. Needs numpy alone."""

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import numpy as np

from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.text import did_you_mean, shown

if TYPE_CHECKING:
    from microgpt.data.config import DataConfig

Unknown = Literal["error", "skip", "replace"]
"""What to do with a character outside the vocabulary: stop, leave it out, or put a stand-in."""

FORMAT = 1
_NAMED = 5


class Tokenizer(ABC):
    """Text to indices `0 .. vocab_size - 1` and back; `kind=` in a subclass's header registers it.

    Args:
        unknown: what becomes of characters outside the vocabulary: "error", "skip" or "replace".
    """

    kind: ClassVar[str]
    """Its name: in `data.tokenizer`, and the `type` in its JSON."""
    members: ClassVar[dict[str, type["Tokenizer"]]] = {}
    decoding_errors: ClassVar[str] = "strict"
    """How files are decoded for this tokenizer, as `bytes.decode` names it."""
    spans_characters: ClassVar[bool] = False
    """Whether a token may stand for several characters. Splits are then places in the text, the same for every such
    tokenizer, and one that is learnt is learnt from the training split alone."""

    def __init_subclass__(cls, *, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind
            cls.members[kind] = cls

    def __init__(self, unknown: Unknown = "error") -> None:
        if unknown not in get_args(Unknown):
            raise UsageError(f"no such choice {unknown!r}", "unknown", did_you_mean(str(unknown), get_args(Unknown)))
        self.unknown = unknown

    @classmethod
    @abstractmethod
    def fit(cls, chunks: Iterable[str], config: "DataConfig") -> Self:
        """Build the tokenizer of a text that comes in pieces, read once."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """The number of tokens."""

    @abstractmethod
    def encode_counted(self, text: str, *, where: str = "", offset: int = 0) -> tuple[np.ndarray, Counter[str]]:
        """The indices of `text` in the smallest integer type, and its unknown characters with their counts.

        Args:
            where: what an error calls the text.
            offset: the position of the text's first character in the whole, for errors.

        Raises:
            DataError: `unknown` is "error" and the text has characters outside the vocabulary.
        """

    @abstractmethod
    def decode(self, ids: Any) -> str:
        """The text of a list, array or tensor of indices.

        Raises:
            DataError: an index is outside the vocabulary.
        """

    @abstractmethod
    def token_lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Each token's length in UTF-8 bytes (V,) and in characters (V,): what turns nats per token into bits."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, read back by `tokenizer_from_dict`."""

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; the type and the version are already checked."""

    def encode(self, text: str) -> list[int]:
        """The indices of `text`.

        Raises:
            DataError: `unknown` is "error" and the text has characters outside the vocabulary.
        """
        indices: list[int] = self.encode_array(text).tolist()
        return indices

    def encode_array(self, text: str) -> np.ndarray:
        """The indices of `text` as an array (n,) of the smallest integer type that holds the vocabulary."""
        return self.encode_counted(text)[0]

    def settled(self, text: str) -> int:
        """How many leading characters of `text` have indices that do not depend on what follows it."""
        return len(text)

    def with_unknown(self, unknown: Unknown) -> Self:
        """The same vocabulary under another policy for unknown characters."""
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
        """`ids` as a flat integer array whose values are all in the vocabulary."""
        if hasattr(ids, "detach"):  # a tensor, on whatever device
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
    """The tokenizer that `to_dict` described; `values` may come from a stranger and is checked in full.

    Raises:
        CheckpointError: the type is unknown, the version newer, or the vocabulary malformed.
    """
    if not isinstance(values, Mapping):
        raise CheckpointError(f"{type(values).__name__} where a mapping is needed", "the tokenizer")
    kind, version = values.get("type"), values.get("format")
    if not isinstance(kind, str) or kind not in Tokenizer.members:
        raise CheckpointError(
            f"no tokenizer {shown(kind)}", "the tokenizer", did_you_mean(str(kind), Tokenizer.members)
        )
    if type(version) is not int or version != FORMAT:
        raise CheckpointError(f"format {shown(version)}", "the tokenizer", f"this version reads format {FORMAT}")
    return Tokenizer.members[kind].from_dict(values).with_unknown(unknown)


def unknown_error(characters: Iterable[str], position: int, where: str) -> DataError:
    """The error for characters outside the vocabulary, in their order of appearance."""
    known = list(dict.fromkeys(characters))
    names = ", ".join(f"{c!r} U+{ord(c):04X}" for c in known[:_NAMED])
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    noun = "character" if len(known) == 1 else "characters"
    return DataError(
        f"{noun} outside the vocabulary: {names}{more}, the first at position {position}",
        where or "the text",
        "leave them out with unknown=skip or put a stand-in with unknown=replace",
    )
