"""Fine-tuning: adopt the knobs of pretrained weights and choose which weights to train."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.config import RunConfig, flatten
from microgpt.engine.trained.model_folder import read_folder
from microgpt.errors import CheckpointError
from microgpt.model import GPT, GPTConfig, lora
from microgpt.model.files import hf
from microgpt.model.pos.rope import RoPEConfig

log = logging.getLogger("microgpt")


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model and its tokenizer."""

    model: GPT
    tokenizer: Tokenizer
    notice: str = ""
    "Names the knobs that the pretrained model overrides."


FREE = ("norm_eps", "logit_softcap")
"""Knobs of the model that fit any weights: the pretrained model decides them, unless the user types them."""


def load_pretrained(config: GPTConfig, typed: Collection[str] = ()) -> Pretrained:
    """Load the model that `model.pretrained` names, with a context no longer than the run's.

    Args:
        typed: the knobs that the user typed, such as `model.dropout`. Of those that fit any weights, they win; the
            others are the pretrained model's. A dropout above 0 counts as typed, wherever it comes from.

    Raises:
        CheckpointError: the model is missing or damaged, or our parts cannot express it.
        MachineError: the download fails, or a package of the extra `hf` is missing.
    """
    folder = hf.locate(str(config.pretrained))
    model, tokenizer = read_folder(folder)
    is_own_dropout = config.dropout > 0 or "model.dropout" in typed
    own = replace(
        model.config,
        pretrained=config.pretrained,
        block_size=min(config.block_size, model.config.block_size),
        dropout=config.dropout if is_own_dropout else model.config.dropout,
        attention=config.attention,
        **{name: getattr(config, name) for name in FREE if f"model.{name}" in typed},
    )
    if "model.pos.theta" in typed and isinstance(own.pos, RoPEConfig) and isinstance(config.pos, RoPEConfig):
        own = replace(own, pos=replace(own.pos, theta=config.pos.theta))
    model = hf.rebuilt(model, own)
    if tokenizer.vocab_size != model.vocab_size:
        what = f"a tokenizer of {tokenizer.vocab_size} tokens for a model of {model.vocab_size}"
        raise CheckpointError(what, str(folder), "take the two from one place")
    return Pretrained(model, tokenizer)


def adopt(config: RunConfig, arguments: Sequence[str] = ()) -> tuple[RunConfig, Pretrained | None]:
    """Give the config the architecture and tokenizer of `model.pretrained`; return the config and the model.

    Args:
        arguments: the command line, whose knobs the user typed.
    """
    if config.model.pretrained is None:
        return config, None
    pretrained = load_pretrained(config.model, {word.lstrip("+").partition("=")[0] for word in arguments})
    before, after = flatten(config.model.to_dict()), flatten(pretrained.model.config.to_dict())
    changed = [f"{name}: {before.get(name)} -> {after[name]}" for name in after if before.get(name) != after[name]]
    notice = f"pretrained {config.model.pretrained}" + (f", which wins: {', '.join(changed)}" if changed else "")
    config = replace(config, model=pretrained.model.config, data=replace(config.data, tokenizer="pretrained"))
    return config, replace(pretrained, notice=notice)


def starting_model(config: RunConfig, vocab_size: int, pretrained: Pretrained | None) -> GPT:
    """Make the starting model, new or pretrained, in train mode; freeze weights and add adapters as the config says.

    Raises:
        UsageError: a pattern of `trainer.freeze` or `lora.targets` matches nothing.
    """
    model = GPT(config.model, vocab_size) if pretrained is None else pretrained.model.float()
    if pretrained is not None:
        log.info("%s", pretrained.notice)
    model.requires_grad_(True)
    if config.lora.rank:
        lora.attach(model, config.lora)
    lora.freeze(model, config.trainer.freeze)
    trained = trained_params(model)
    if trained < model.num_params():
        log.info("trains %s of %s weights (%.2f %%)", f"{trained:,}", f"{model.num_params():,}",
                 100 * trained / model.num_params())  # fmt: skip
    return model.train()


def trained_params(model: GPT) -> int:
    """The number of trainable weights."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
