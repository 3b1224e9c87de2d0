"""Check that an export gives the model's logits and the tokenizer's tokens."""

from collections.abc import Callable

import torch
from torch import Tensor

from microgpt.data.tokenizer import Tokenizer, Unknown
from microgpt.errors import CheckpointError
from microgpt.model import GPT

Logits = Callable[[Tensor], Tensor]
"""int64 (B, T) -> (B, T, V)."""
Encode = Callable[[str], list[int]]
TOLERANCE = 1e-5
"Largest accepted difference of logits, relative to the largest logit or to 1, whichever is larger."
POLICIES: tuple[Unknown, ...] = ("skip", "replace")


@torch.no_grad()
def compare_logits(model: GPT, logits: Logits) -> float:
    """Compute the largest difference of logits over random tokens that fill the context.

    Raises:
        CheckpointError: the difference is larger than rounding explains.
    """
    x = random_tokens(model)
    expected = model(x)[0].float()
    difference = float((expected - logits(x).float()).abs().max())
    bound = TOLERANCE * max(1.0, float(expected.abs().max()))
    bound = bound if model.wte.weight.dtype in (torch.float32, torch.float64) else 1e3 * bound
    if not difference <= bound:
        what = f"the exported model's logits differ by {difference:.3g}, more than {bound:.3g}"
        raise CheckpointError(what, "the export", "nothing was written; report this with the model's config.json")
    return difference


@torch.no_grad()
def largest_difference(model: GPT, logits: Logits) -> float:
    """The largest difference of logits over random tokens, of a format that rounds the weights."""
    x = random_tokens(model)
    return float((model(x)[0].float() - logits(x).float()).abs().max())


def random_tokens(model: GPT) -> Tensor:
    """Tokens (2, T) that fill the context, always the same."""
    return torch.randint(model.vocab_size, (2, model.config.block_size), generator=torch.Generator().manual_seed(0))


def compare_tokens(tokenizer: Tokenizer, encode: Encode) -> None:
    """Refuse an exported tokenizer that encodes texts differently.

    Raises:
        CheckpointError: a text encodes to different tokens.
    """
    ids = torch.randint(tokenizer.vocab_size, (200,), generator=torch.Generator().manual_seed(0))
    for text in (tokenizer.decode(ids), "The cat's hat, naïve café.\n\n  日本語 🎩\t1234", ""):
        # An export leaves out unknown characters, or has the tokenizer's own token for them.
        if encode(text) not in [tokenizer.with_unknown(policy).encode(text) for policy in POLICIES]:
            raise CheckpointError(f"the exported tokenizer cuts {text[:40]!r} differently", "the export")
