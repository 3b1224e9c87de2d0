"""A text that grows token by token: its characters as soon as they are certain, and where it stops."""

from collections.abc import Sequence
from typing import Protocol

CONTEXT = 4
"""Tokens of the prompt that are decoded with the first new ones: some tokenizers leave out a text's first space."""


class TextCodec(Protocol):
    """What generation needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; a part of a character becomes U+FFFD."""


class GrowingText:
    """The text of the tokens that follow a prompt.

    A character may come in several tokens, and a stop string too. Only the tokens since the last whole character are
    decoded anew, so that a token costs the same however long the text is.

    Args:
        prompt: the prompt's tokens.
        stop: the text ends just before the first of these strings, the one that is complete first.
    """

    def __init__(self, tokenizer: TextCodec, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop = [string for string in stop if string]
        self.is_stopped = False
        self._tokens = list(prompt[-CONTEXT:])
        self._context, self._decoded = 0, len(self._tokens)  # tokens[context:decoded] are in the text already
        self._text, self._taken = "", 0

    def add(self, token: int) -> None:
        """Append a token; after the text has stopped nothing changes."""
        if self.is_stopped:
            return
        self._tokens.append(token)
        fresh = self._fresh()
        if fresh and not fresh.endswith("\N{REPLACEMENT CHARACTER}"):
            self._append(fresh)

    def take(self) -> str:
        """The characters that are certain and were not taken before: no part of a character, nor what may become a
        stop string."""
        return self._take(len(self._text) - (0 if self.is_stopped else self._held()))

    def finish(self) -> str:
        """The text up to its stop, whatever has been taken; half a character at its end shows as U+FFFD."""
        if not self.is_stopped:
            self._append(self._fresh())
        return self._text

    def rest(self) -> str:
        """What was not taken of the finished text."""
        return self._take(len(self._text))

    def _append(self, fresh: str) -> None:
        begin = max(0, len(self._text) - max(map(len, self.stop), default=1) + 1)  # a stop may end in what is fresh
        self._text += fresh
        self._context, self._decoded = self._decoded, len(self._tokens)
        found = [(at + len(string), at) for string in self.stop if (at := self._text.find(string, begin)) >= 0]
        if found:
            self._text, self.is_stopped = self._text[: min(found)[1]], True

    def _fresh(self) -> str:
        """The text of the tokens that are not in `_text` yet, where they follow the others."""
        before = self.tokenizer.decode(self._tokens[self._context : self._decoded])
        return self.tokenizer.decode(self._tokens[self._context :])[len(before) :]

    def _held(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max(map(len, self.stop), default=1) - 1
        lengths = range(min(longest, len(self._text)), 0, -1)
        return next((n for n in lengths if any(string.startswith(self._text[-n:]) for string in self.stop)), 0)

    def _take(self, end: int) -> str:
        begin, self._taken = self._taken, max(self._taken, end)
        return self._text[begin : self._taken]
