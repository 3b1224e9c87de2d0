"""Generate texts from prompts, for notebooks, the command and training alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from microgpt.config import Config, Count, Natural, NonNegative, Range
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.machine.pending import Pending
from microgpt.engine.process import signals
from microgpt.engine.trained.growing_text import GrowingText, TextCodec
from microgpt.errors import UsageError
from microgpt.model import GPT
from microgpt.model.generation.sampling import CounterGenerator, SamplingParams
from microgpt.model.generation.stream import stream


class SampleConfig(Config):
    """Samples drawn during training, from fixed prompts."""

    every_n_steps: Natural = 0
    "Steps between rounds of samples; 0 samples only at the end."
    prompts: tuple[str, ...] = ("",)
    "Prompts to continue, one per sample; an empty prompt starts at a new line."
    max_new_tokens: Natural = 300
    "Length of each sample in tokens."
    temperature: NonNegative = 0.8
    "0 picks the likeliest token; higher values vary more."
    top_k: Count | None = None
    "Sample from the k likeliest tokens."
    top_p: Annotated[float, Range(above=0, max=1)] | None = None
    "Sample from the likeliest tokens that together have this probability."
    min_p: Annotated[float, Range(min=0, max=1)] | None = None
    "Sample from tokens whose probability is at least this fraction of the likeliest token's."

    def params(self, seed: int) -> "GenerationParams":
        """The settings of one sample with this seed; wherever a run samples, it takes them from here."""
        return GenerationParams(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_k=self.top_k, top_p=self.top_p,
            min_p=self.min_p, seed=seed,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GenerationParams:
    """Settings for continuing prompts.

    Args:
        num_samples: texts per prompt, generated in one batch.
        max_new_tokens: maximum length of each.
        temperature, top_k, top_p, min_p: as in `SamplingParams`.
        stop: a text ends before the first of these strings in its new part.
        stop_at_end: whether a text ends before the first end token of the model, if it has any.
        seed: the same seed gives the same texts; None draws one.
        generator: `torch`'s, or `counter`: the numbers of a run's page, the same in every version and on every device.
        compile: compile the step that generates a token; takes up to half a minute once per model.

    Raises:
        UsageError: `num_samples` is less than 1, or there is no such generator.
    """

    num_samples: int = 1
    max_new_tokens: int = 200
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    stop: Sequence[str] = ()
    stop_at_end: bool = True
    seed: int | None = None
    generator: Literal["torch", "counter"] = "torch"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise UsageError(f"{self.num_samples} samples", "num_samples", "ask for one or more")
        if self.generator not in ("torch", "counter"):
            raise UsageError(f"generator {self.generator!r}", "generator", "it is 'torch' or 'counter'")

    def ends(self, tokenizer: TextCodec) -> tuple[int, ...]:
        """The tokens at which a text ends."""
        ends: tuple[int, ...] = tokenizer.end_tokens() if isinstance(tokenizer, Tokenizer) else ()
        return ends if self.stop_at_end else ()

    def sampling(self, device: torch.device) -> SamplingParams:
        """The sampling settings of each token, with a generator of this seed."""
        return SamplingParams(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            generator=self.seeded(device),
        )

    def seeded(self, device: torch.device) -> torch.Generator | CounterGenerator:
        """A new generator of this seed."""
        torchs = seeded_generator(self.seed, device)
        return torchs if self.generator == "torch" else CounterGenerator(torchs.initial_seed())


DEFAULT = GenerationParams()


def generate_texts(
    model: GPT,
    tokenizer: TextCodec,
    prompt: str = "",
    params: GenerationParams = DEFAULT,
    on_text: Callable[[str], None] | None = None,
) -> list[str]:
    """Continue a prompt; returns each text with the prompt before it.

    Args:
        on_text: called with each new piece of the first text, the prompt first.

    Raises:
        DataError: the tokenizer does not know a character.
        UsageError: a setting is invalid.
        MachineError: torch cannot compile.
    """
    texts: list[GrowingText] = []
    for piece in pieces(model, tokenizer, prompt, params, texts):
        if on_text is not None:
            on_text(piece)
    return [prompt + text.finish() for text in texts]


def pieces(
    model: GPT, tokenizer: TextCodec, prompt: str, params: GenerationParams, texts: list[GrowingText]
) -> Iterator[str]:
    """Yield the pieces of the first text as they are generated, the prompt first; raises as `generate_texts` does.

    Args:
        texts: an empty list, which receives all the texts.
    """
    ids = prompt_ids(tokenizer, prompt)
    device = next(model.parameters()).device
    idx = torch.tensor([ids] * params.num_samples, dtype=torch.int64, device=device)
    ends = params.ends(tokenizer)
    texts += [GrowingText(tokenizer, ids, params.stop, ends) for _ in range(params.num_samples)]
    yield prompt
    steps = stream(model, idx, params.max_new_tokens, params.sampling(device), compile=params.compile)
    for tokens in read(steps):
        signals.give_way()
        for text, token in zip(texts, tokens, strict=True):
            text.add(token)
        if piece := texts[0].take():
            yield piece
        if all(text.is_stopped for text in texts):
            break
    texts[0].finish()
    yield texts[0].rest()


def read(steps: Iterator[Tensor]) -> Iterator[list[int]]:
    """The tokens of each step. On a GPU each is read when the next has been started, so that it never waits."""
    before: Pending | None = None
    for tokens in steps:
        now = Pending(tokens)
        if tokens.device.type == "cpu":
            yield now.read()
            continue
        if before is not None:
            yield before.read()
        before = now
    if before is not None:
        yield before.read()


def seeded_generator(seed: int | None, device: torch.device) -> torch.Generator:
    """A generator with this seed; None picks a random seed."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed % 2**63) if seed is not None else generator.seed()
    return generator


def prompt_ids(tokenizer: TextCodec, prompt: str) -> list[int]:
    """The tokens that a model continues: those of the prompt, after the token that starts a text if there is one."""
    ids = tokenizer.prompt(prompt) if isinstance(tokenizer, Tokenizer) else tokenizer.encode(prompt)
    return ids or start_ids(tokenizer)


def start_ids(tokenizer: TextCodec) -> list[int]:
    """The start of an empty prompt: a new line if the vocabulary has one, else its first token."""
    try:
        return tokenizer.encode("\n") or [0]
    except Exception:
        return [0]
