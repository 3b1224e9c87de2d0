"""Generate text token by token: one implementation for notebooks, commands and samples during training.

The model sees a window of the latest tokens, which grows to block_size. When one more token does not fit, the window
shrinks to the latest block_size / 2 tokens, which the model reads again. The window thus holds between half and all of
the context, and rereading costs about as much work per token as one token. Generation with and without a cache follows
the same rule, so the results agree for every position scheme.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from microgpt.errors import NonFiniteError
from microgpt.model.generation.compiled import StaticStep, Step, faster_step, next_logits, recorded_next_logits
from microgpt.model.generation.decoder import Decoder
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.generation.sampling import SamplingParams, choose, refuse
from microgpt.model.kernels.attention import any_length
from microgpt.model.kernels.int8 import is_quantized
from microgpt.model.kernels.packed import PACKING_PAYS, packed
from microgpt.model.kernels.panels import in_panels

DEFAULT = SamplingParams()


def stream(
    model: Decoder,
    idx: Tensor,
    max_new_tokens: int,
    params: SamplingParams = DEFAULT,
    use_cache: bool = True,
    compile: bool = False,
) -> Iterator[Tensor]:
    """Yield the tokens (B,) that follow a batch of prompts, one at a time.

    The model is in eval mode until the iterator ends or is closed, and then returns to its previous mode.

    Args:
        idx: (B, T) int64 prompts, T >= 1; the model reads the end of a prompt longer than the context.
        max_new_tokens: the most tokens to generate.
        params: how to choose each token.
        use_cache: False recomputes the whole window for each token: the same tokens, slower.
        compile: compile the generation of one token, unless that is slower for so many texts; see
            `compiled.faster_step`. Logits differ by rounding.

    Raises:
        UsageError: an argument is out of range; raised by the call itself, before the first token.
        MachineError: torch cannot compile here.
        NonFiniteError: the model's logits are not finite.
    """
    check_prompt(idx, model.vocab_size)
    if max_new_tokens < 0:
        refuse(f"max_new_tokens {max_new_tokens}", "it must be 0 or more")
    params.check(model.vocab_size)
    device = model.wte.weight.device
    step: Step | None = None
    if use_cache and compile:
        step = faster_step(device, len(idx), is_quantized(model))
    elif use_cache:
        step = recorded_next_logits(model, len(idx), max_new_tokens)
    return tokens(model, idx.to(device), max_new_tokens, params, use_cache, step)


@torch.no_grad()
def tokens(
    model: Decoder, idx: Tensor, count: int, params: SamplingParams, use_cache: bool, compiled: Step | None
) -> Iterator[Tensor]:
    """`stream` with checked arguments; `compiled` computes each token once the cache holds `fewest` or more."""
    block_size, was_training, stop = model.config.block_size, model.training, params.stop_token
    window = idx[:, -block_size:]  # (B, W): what the model sees
    # A compiled step needs one capacity for all texts, never full: a full cache has a layout that would compile anew.
    capacity = block_size + 1 if compiled else min(block_size, window.shape[1] + count)
    cache = KVCache(model.config.n_layer, capacity) if use_cache else None
    fewest = 1 if isinstance(compiled, StaticStep) else 2  # the compiler takes a length of 1 for a case of its own
    fresh = window  # the part of the window not in the cache
    seen, size = [window], window.shape[1]  # the window in pieces, and its length
    stopped = torch.zeros(len(idx), dtype=torch.bool, device=idx.device)
    if was_training:
        model.eval()
    with contextlib.ExitStack() as ending:
        ending.callback(model.train, was_training)
        ending.enter_context(reordered(model, len(idx), count, compiled is not None))
        for n in range(count):
            is_one_more = cache is not None and cache.length >= fewest and fresh.shape[1] == 1
            step = compiled if is_one_more else None
            if isinstance(step, StaticStep):
                assert cache is not None
                token = step.next_token(model, fresh, cache, params)
            else:
                with any_length(idx.device):
                    logits = (step or next_logits)(model, fresh, cache)  # (B, V)
                if n == 0 or logits.device.type == "cpu":  # checking every token would stall a GPU
                    check_finite(logits)
                token = choose(logits, params)
            if stop is not None:
                token = token.masked_fill(stopped, stop)
                stopped |= token == stop
            yield token
            if stop is not None and stopped.all():
                return
            fresh, size = token[:, None], size + 1
            seen.append(fresh)
            if size > block_size:
                fresh = torch.cat(seen, dim=1)[:, -max(1, block_size // 2) :]
                seen, size = [fresh], fresh.shape[1]
                if cache is not None:
                    cache.clear()
            elif cache is None:
                fresh = torch.cat(seen, dim=1)


def reordered(model: Decoder, rows: int, count: int, is_compiled: bool) -> contextlib.AbstractContextManager[None]:
    """A context in which the model has copies of its weights in the order that suits so many texts and tokens."""
    if is_compiled:
        return in_panels(model)
    return packed(model, rows) if count >= PACKING_PAYS else contextlib.nullcontext()


def check_finite(logits: Tensor) -> None:
    """Check that every logit is finite. The sum usually shows it in one operation; the exact check takes four.

    Raises:
        NonFiniteError: one is not.
    """
    if not (math.isfinite(float(logits.sum())) or bool(logits.isfinite().all())):
        raise NonFiniteError("the model's logits are not finite", "generation", "train it anew or further back")


def check_prompt(idx: Tensor, vocab_size: int) -> None:
    """Check the prompts' shape, type and tokens.

    Raises:
        UsageError: they are not (B, T) int64 tokens of the vocabulary.
    """
    if idx.dim() != 2 or idx.dtype != torch.int64:
        refuse(f"a prompt of shape {tuple(idx.shape)} and type {idx.dtype}", "it must be (B, T) of int64")
    if idx.shape[0] == 0 or idx.shape[1] == 0:
        refuse("an empty prompt", "give it at least one token")
    low, high = int(idx.min()), int(idx.max())
    if low < 0 or high >= vocab_size:
        what = f"token {low if low < 0 else high} of a vocabulary of {vocab_size}"
        refuse(what, f"tokens are 0 to {vocab_size - 1}")
