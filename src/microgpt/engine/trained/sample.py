"""Prompts become texts: the same code for notebooks, the command and training."""

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import torch

from microgpt.config import Config, Count, Natural, NonNegative, Range
from microgpt.engine.process import signals
from microgpt.errors import UsageError
from microgpt.model import GPT
from microgpt.model.generation.sampling import SamplingParams
from microgpt.model.generation.stream import stream


class SampleConfig(Config):
    """Samples drawn during training, from prompts that stay the same."""

    every_n_steps: Natural = 0
    "Steps between two rounds of samples; 0 draws them at the end alone."
    prompts: tuple[str, ...] = ("",)
    "What each sample goes on from; an empty prompt starts at a new line."
    max_new_tokens: Natural = 300
    "Length of a sample in tokens."
    temperature: NonNegative = 0.8
    "0 takes the likeliest token; higher is more varied."
    top_k: Count | None = None
    "Choose among the k likeliest tokens."
    top_p: Annotated[float, Range(above=0, max=1)] | None = None
    "Choose among the likeliest tokens that together have this probability."
    min_p: Annotated[float, Range(min=0, max=1)] | None = None
    "Choose among tokens at least this share as likely as the likeliest."


class TextCodec(Protocol):
    """What generation needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


def generate_texts(
    model: GPT,
    tokenizer: TextCodec,
    prompt: str = "",
    *,
    num_samples: int = 1,
    max_new_tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    stop: Sequence[str] = (),
    seed: int | None = None,
    compile: bool = False,
    on_text: Callable[[str], None] | None = None,
) -> list[str]:
    """Continue `prompt` in `num_samples` ways, all in one batch.

    Args:
        temperature: 0 takes the likeliest token each time.
        stop: a text ends before the first of these strings that appears in what is new.
        seed: the same seed gives the same texts; None draws one.
        compile: compile the step that makes a token, half a minute once for a model: many tokens are then made sooner.
        on_text: called with each new piece of the first text as it is made, the prompt first.

    Returns:
        The prompt and its continuation, for each sample.

    Raises:
        DataError: when the prompt has characters that the model does not know.
        UsageError: for settings that make no sense.
        MachineError: torch cannot compile here.
    """
    if num_samples < 1:
        raise UsageError(f"{num_samples} samples", "num_samples", "ask for one or more")
    ids = tokenizer.encode(prompt) or start_ids(tokenizer)
    device = next(model.parameters()).device
    generator = torch.Generator(device=device)
    generator.manual_seed(seed % 2**63) if seed is not None else generator.seed()
    idx = torch.tensor([ids] * num_samples, dtype=torch.int64, device=device)

    new: list[list[int]] = [[] for _ in range(num_samples)]
    ended = [False] * num_samples
    shown = 0
    if on_text is not None:
        on_text(prompt)
    longest_stop = max((len(s) for s in stop), default=0)
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, generator=generator)
    for tokens in stream(model, idx, max_new_tokens, params, compile=compile):
        signals.give_way()
        for row, token in enumerate(tokens.tolist()):
            if not ended[row]:
                new[row].append(token)
                ended[row] = bool(stop) and cut(tokenizer.decode(new[row][-16 - longest_stop :]), stop)[1]
        if on_text is not None and not ended[0]:
            text = text_after(tokenizer, ids, new[0])
            # What may still become a stop string, or half of a character, waits for the next token.
            ready = len(text) - longest_stop - text.endswith("\N{REPLACEMENT CHARACTER}")
            if ready > shown:
                on_text(text[shown:ready])
                shown = ready
        if all(ended):
            break
    texts = [cut(text_after(tokenizer, ids, row), stop)[0] for row in new]
    if on_text is not None:
        on_text(texts[0][shown:])
    return [prompt + text for text in texts]


def text_after(tokenizer: TextCodec, ids: Sequence[int], new: Sequence[int]) -> str:
    """The text of `new` where it follows `ids`: some tokenizers leave out the space before a text's first word."""
    before = list(ids[-4:])
    return tokenizer.decode([*before, *new])[len(tokenizer.decode(before)) :]


def start_ids(tokenizer: TextCodec) -> list[int]:
    """What an empty prompt starts from: a new line where the vocabulary has one, else its first token."""
    try:
        return tokenizer.encode("\n") or [0]
    except Exception:
        return [0]


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first stop string in it, and whether there was one."""
    ends = [at for at in (text.find(s) for s in stop if s) if at >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
