"""What every tokenizer is, and how one is read back from its JSON. Needs numpy alone."""

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
"""What to do with a character outside the vocabulary: stop, leave it out, or put a stand-in."""

PRETRAINED = "pretrained"
"""The choice of no tokenizer of one's own: the one that belongs to the pretrained model."""
FORMAT = 1
_NAMED = 5


class FitKnobs(Protocol):
    """The knobs of `data` that `Tokenizer.fit` may use."""

    @property
    def vocab_size(self) -> int:
        """The most tokens that a tokenizer of subwords may learn."""

    @property
    def unknown(self) -> Unknown:
        """The policy for characters outside the vocabulary."""


class Tokenizer(Part, ABC, family="tokenizer"):
    """Text to indices `0 .. vocab_size - 1` and back; a subclass with `name=` can be chosen as `data.tokenizer=`.

    Its name is the `type` in a model folder's tokenizer.json. A new one is a file beside this one, or your own: train
    with `imports=[mine.py] data.tokenizer=mine`, and open the model elsewhere with `--import mine.py`.

    Args:
        unknown: what becomes of characters outside the vocabulary: "error", "skip" or "replace".
    """

    decoding_errors: ClassVar[str] = "strict"
    """How files are decoded for this tokenizer, as `bytes.decode` names it."""
    spans_characters: ClassVar[bool] = False
    """Whether a token may stand for several characters. The splits of the text are then at the same characters for
    every such tokenizer, and one that is learnt is learnt from the training split alone."""
    is_learnt: ClassVar[bool] = True
    """Whether `fit` builds it from a text, so that it can be chosen."""

    def __init__(self, unknown: Unknown = "error") -> None:
        if unknown not in get_args(Unknown):
            raise UsageError(f"no such choice {unknown!r}", "unknown", did_you_mean(str(unknown), get_args(Unknown)))
        self.unknown = unknown

    @classmethod
    def choices(cls) -> list[str]:
        """What `data.tokenizer` may be."""
        return [*(name for name, member in cls.members.items() if member.is_learnt), PRETRAINED]

    @classmethod
    @abstractmethod
    def fit(cls, chunks: Iterable[str], config: FitKnobs) -> Self:
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

    def state(self) -> dict[str, Any]:
        """The vocabulary and whatever else `from_dict` needs, as plain data for JSON."""
        return {}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build it from its `state`, which may come from a stranger; the type and the version are already checked."""
        del values  # without a vocabulary of its own there is nothing to read
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, read back by `tokenizer_from_dict`."""
        return {"type": self.name, "format": FORMAT, **self.state()}

    def tokenizer_json(self) -> str:
        """The text of a tokenizer.json that gives the same indices in the `tokenizers` library, which exports to
        Hugging Face need. Characters outside the vocabulary are left out.

        Raises:
            UsageError: it cannot be expressed; says why.
        """
        what = f"a tokenizer of kind {self.name!r}, which has no tokenizer.json"
        raise UsageError(what, "the tokenizer", "export with --format safetensors")

    def end_token(self) -> tuple[int, str] | None:
        """The index and the name of the token that ends a text; None when there is none."""
        return None

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
        "leave them out with unknown=skip or put a stand-in with unknown=replace",
    )
