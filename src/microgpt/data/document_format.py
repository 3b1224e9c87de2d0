"""How a source divides into documents. Needs only the standard library."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from microgpt.errors import CheckpointError, DataError
from microgpt.text import one_line, shown

Kind = Literal["lines", "files", "separator", "jsonl"]


@dataclass(frozen=True)
class DocumentFormat:
    """The division of a source into documents; empty documents do not count.

    Attributes:
        kind: one document a line, a file, or between separators; or the string at `jsonl_key` of each line's object.
        separator: what stands between documents, for the kind "separator"; newlines around it belong to no document.
        jsonl_key: the name of the text, for the kind "jsonl".
    """

    kind: Kind
    separator: str = "<|endoftext|>"
    jsonl_key: str = "text"

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Rebuild a format from its untrusted `to_dict`.

        Raises:
            CheckpointError: it is none.
        """
        names = {"kind", "separator", "jsonl_key"}
        if not isinstance(values, dict) or set(values) != names or not all(isinstance(v, str) for v in values.values()):
            raise CheckpointError(f"documents {shown(values)}", "the tokenizer", "copy the model's folder again")
        if values["kind"] not in get_args(Kind) or not values["separator"]:
            raise CheckpointError(f"documents {shown(values)}", "the tokenizer", "this version does not know them")
        return cls(**values)

    def to_dict(self) -> dict[str, str]:
        """The format as plain data for JSON."""
        return asdict(self)

    def divided(self, pieces: Iterable[str], name: str) -> Iterator[str]:
        """Yield a file's documents, from its text in pieces.

        Args:
            name: of the file, for errors.

        Raises:
            DataError: a line is no JSON object with a text at the key.
        """
        if self.kind == "files":
            documents: Iterator[str] = iter(["".join(pieces)])
        elif self.kind == "separator":
            documents = (document.strip("\r\n") for document in split(pieces, self.separator))
        else:
            documents = (line.removesuffix("\r") for line in split(pieces, "\n"))
            if self.kind == "jsonl":
                documents = self._texts(documents, name)
        return (document for document in documents if document)

    def _texts(self, lines: Iterator[str], name: str) -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{name}, line {number}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                fix = "write one JSON object a line, or choose another data.documents"
                raise DataError(f"no JSON ({one_line(error, 100)})", where, fix) from None
            text = values.get(self.jsonl_key) if isinstance(values, dict) else None
            if not isinstance(text, str):
                keys = (
                    [key for key, value in values.items() if isinstance(value, str)] if isinstance(values, dict) else []
                )
                fix = f"choose data.jsonl_key among {shown(keys)}" if keys else "write an object with a string a line"
                raise DataError(f"no text at the key {shown(self.jsonl_key)}", where, fix)
            yield text


def split(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """`"".join(pieces).split(separator)`, without joining them: a document is held in memory, not the text."""
    held: list[str] = []
    tail, kept = "", len(separator) - 1  # a separator may begin at the end of a piece
    for piece in pieces:
        first, *others = (tail + piece).split(separator)
        if others:
            yield "".join([*held, first])
            yield from others[:-1]
            held, first = [], others[-1]
        cut = max(0, len(first) - kept)
        held.append(first[:cut])
        tail = first[cut:]
    yield "".join([*held, tail])
