"""Decode a text token by token: emit characters once they are complete, and stop at a stop string."""

from collections.abc import Collection, Sequence
from typing import Protocol

CONTEXT = 4
"""Prompt tokens to decode with the first new ones: some tokenizers drop a text's first space."""


class TextCodec(Protocol):
    """The part of a tokenizer that generation uses."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens; an incomplete character becomes U+FFFD."""


class GrowingText:
    """The text that follows a prompt, built token by token.

    A character or a stop string may span several tokens. Each step decodes only the tokens since the last whole
    character, so the cost per token does not grow with the text.

    Args:
        prompt: the prompt's tokens.
        stop: the text ends just before the first of these strings to be completed.
        ends: the text ends just before the first of these tokens.
    """

    def __init__(
        self, tokenizer: TextCodec, prompt: Sequence[int], stop: Sequence[str] = (), ends: Collection[int] = ()
    ) -> None:
        self.tokenizer, self.ends = tokenizer, ends
        self.stop = [string for string in stop if string]
        self.is_stopped = False
        begin = max(0, len(prompt) - CONTEXT)
        # Decoders that fall back to bytes spoil every byte beside half of a character, which has four at most.
        while begin > max(0, len(prompt) - CONTEXT - 3) and tokenizer.decode(prompt[begin:]).startswith("\ufffd"):
            begin -= 1
        self._tokens = list(prompt[begin:])
        self._context, self._decoded = 0, len(self._tokens)  # tokens[context:decoded] are already in the text
        self._text, self._taken = "", 0

    def add(self, token: int) -> None:
        """Append a token; does nothing after the text has stopped."""
        if self.is_stopped:
            return
        if token in self.ends:
            self.finish()
            self.is_stopped = True
            return
        self._tokens.append(token)
        fresh = self._fresh()
        if fresh and not fresh.endswith("\N{REPLACEMENT CHARACTER}"):
            self._append(fresh)

    def take(self) -> str:
        """Return the new characters that are certain: whole characters that cannot become part of a stop string."""
        return self._take(len(self._text) - (0 if self.is_stopped else self._held()))

    def finish(self) -> str:
        """Return the whole text up to its stop; an incomplete last character becomes U+FFFD."""
        if not self.is_stopped:
            self._append(self._fresh())
        return self._text

    def rest(self) -> str:
        """Return the part of the finished text that has not been taken."""
        return self._take(len(self._text))

    def _append(self, fresh: str) -> None:
        begin = max(0, len(self._text) - max(map(len, self.stop), default=1) + 1)  # a stop may end in the new text
        self._text += fresh
        self._context, self._decoded = self._decoded, len(self._tokens)
        found = [(at + len(string), at) for string in self.stop if (at := self._text.find(string, begin)) >= 0]
        if found:
            self._text, self.is_stopped = self._text[: min(found)[1]], True

    def _fresh(self) -> str:
        """Decode the tokens that are not in `_text` yet, in the context of the ones before."""
        before = self.tokenizer.decode(self._tokens[self._context : self._decoded])
        return self.tokenizer.decode(self._tokens[self._context :])[len(before) :]

    def _held(self) -> int:
        """The number of characters at the end that may begin a stop string."""
        longest = max(map(len, self.stop), default=1) - 1
        lengths = range(min(longest, len(self._text)), 0, -1)
        return next((n for n in lengths if any(string.startswith(self._text[-n:]) for string in self.stop)), 0)

    def _take(self, end: int) -> str:
        begin, self._taken = self._taken, max(self._taken, end)
        return self._text[begin : self._taken]
