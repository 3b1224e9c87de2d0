"""Check before the first step what would otherwise fail at an evaluation, at a sample or after the last step."""

import torch

from microgpt.config import ConfigError, Fault
from microgpt.data.corpus import Corpus
from microgpt.engine.config import RunConfig
from microgpt.engine.trained.evaluate import windows_at_once, windows_of
from microgpt.engine.trained.protocols import EvalProtocol


def check_uses(config: RunConfig, corpus: Corpus) -> None:
    """Check the knobs of samples and evaluations against the tokenizer and the text.

    Raises:
        DataError: a prompt has unknown characters, or the protocol cannot score a split.
        ConfigError: a knob exceeds the vocabulary.
    """
    for prompt in config.sample.prompts:
        corpus.tokenizer.encode_counted(prompt, where=f"sample.prompts, {prompt!r}")
    vocab_size, top_k = corpus.tokenizer.vocab_size, config.sample.top_k
    if top_k is not None and top_k > vocab_size:
        what = f"{top_k} of a vocabulary of {vocab_size} tokens"
        raise ConfigError([Fault("sample.top_k", what, f"take {vocab_size} at most, or null")])
    room = min(config.model.block_size // 2, vocab_size)
    if config.inspect.every_n_steps and room < 2:
        what = f"a context of {config.model.block_size} with {vocab_size} tokens has no room for tokens that repeat"
        raise ConfigError([Fault("inspect.every_n_steps", what, "set it to 0, or model.block_size=4 at least")])
    protocol, T = EvalProtocol.named(config.eval.protocol, "eval.protocol"), config.model.block_size
    batch_size = windows_at_once(config.eval.batch_size, T, vocab_size)
    for split in ("val", "test"):
        text = corpus.scored(split)
        if len(text) > 1:  # the first windows show whether the split is long enough
            next(iter(windows_of(protocol(), text, T, batch_size, torch.device("cpu"))), None)
