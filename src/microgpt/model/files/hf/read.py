"""Load a folder in Hugging Face's format as a GPT, after checking its weights' names, shapes and types."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from microgpt.config import ConfigError
from microgpt.errors import CheckpointError, UsageError
from microgpt.model.config import GPTConfig
from microgpt.model.files.folder import TABLES_LIMIT, load_model
from microgpt.model.files.hf.family import Family, Rule, family_of
from microgpt.model.files.hf.leftovers import odd_fields, refuse_leftovers
from microgpt.model.files.hf.source import CONFIG, Weights, WeightSource, locate
from microgpt.model.files.untrusted import TYPES, damaged, read_json
from microgpt.model.files.without_weights import without_weights
from microgpt.model.gpt import GPT
from microgpt.text import cut, shown

HINT = "microgpt"
"The key of config.json under which an export keeps our own config."


def from_pretrained(name: str | Path, *, block_size: int | None = None, dropout: float = 0.0) -> GPT:
    """Load a model from the Hub, a Hugging Face folder or a run; see `GPT.from_pretrained`."""
    folder = locate(name)
    model = load_model(folder)[0] if is_ours(folder) else read_model(folder)
    T = block_size or model.config.block_size
    if model.config.block_size < T:
        what = f"block_size {T}, and {str(name)!r} has a context of {model.config.block_size}"
        raise UsageError(what, "from_pretrained", "take a shorter one, or leave it out")
    config = dataclasses.replace(model.config, block_size=T, dropout=dropout, pretrained=str(name))
    return rebuilt(model, config)


def is_ours(folder: Path) -> bool:
    """Whether a folder holds a model in our own format."""
    return "model_type" not in read_json(folder / CONFIG, limit=1 << 20)


def rebuilt(model: GPT, config: GPTConfig) -> GPT:
    """A model with the same weights, not copied, and a config whose context may be shorter."""
    with without_weights():
        twin = GPT(config, model.vocab_size)
    state = model.state_dict()
    if "pos.wpe.weight" in state:
        state["pos.wpe.weight"] = state["pos.wpe.weight"][: config.block_size].clone()
    twin.load_state_dict(state, assign=True)
    return twin.to(model.wte.weight.dtype).eval()


def read_model(folder: Path) -> GPT:
    """Load a Hugging Face folder's model, in eval mode and in the dtype of its weights.

    Raises:
        CheckpointError: a file is missing or damaged, or our parts cannot express the model; names the fields.
    """
    values = read_json(folder / CONFIG, limit=1 << 20)
    with Weights(folder) as weights:
        return model_from(values, weights, folder / CONFIG)


def model_from(values: Mapping[str, Any], weights: WeightSource, place: Path) -> GPT:
    """Build the model that a config.json and weights under Hugging Face's names describe.

    Args:
        values: the content of config.json, untrusted.
        place: where it came from, for errors.

    Raises:
        CheckpointError: they do not fit, or our parts cannot express the model; names the fields.
    """
    family = family_of(values, str(place))
    vocab_size = values.get("vocab_size")
    if type(vocab_size) is not int:
        raise damaged(place, f"vocab_size {shown(vocab_size)} is no whole number")
    own = _own_config(values, family, vocab_size)
    if own is not None:
        state = _state(family, own, values, weights, place, is_exact=True)
        if state is not None:
            return _model(own, vocab_size, state)
    config = _config(values, family, place)
    state = _state(family, config, values, weights, place, is_exact=False)
    assert state is not None
    return _model(config, vocab_size, state)


def _own_config(values: Mapping[str, Any], family: Family, vocab_size: int) -> GPTConfig | None:
    """The config that our export stored, if the rest of config.json still agrees with it."""
    hint = values.get(HINT)
    if not isinstance(hint, dict) or any(odd_fields(values, family)):
        return None
    try:
        config = GPTConfig.from_dict(hint)
        written = {} if list(family.blockers(config)) else family.write_config(config, vocab_size)
    except (ConfigError, ArithmeticError, TypeError, ValueError):
        return None
    # transformers drops some keys when it saves the folder again.
    is_same = bool(written) and all(values.get(key, value) == value for key, value in written.items())
    return config if is_same else None


def _config(values: Mapping[str, Any], family: Family, place: Path) -> GPTConfig:
    """Convert their config to ours."""
    try:
        knobs, refused = family.read_config(values)
        refused.extend(odd_fields(values, family))
        if values.get("quantization_config") is not None:
            refused.append("quantization_config")
        if refused:
            what = cut(f"our parts cannot express {', '.join(refused)}", 300)
            raise CheckpointError(what, str(place), "take a model without these")
        return GPTConfig.from_dict(knobs)
    except ConfigError as error:
        raise damaged(place, str(error.faults[0])) from None
    except (ArithmeticError, TypeError, ValueError) as error:
        raise damaged(place, str(error)) from None


def _state(
    family: Family, config: GPTConfig, values: Mapping[str, Any], weights: WeightSource, place: Path, is_exact: bool
) -> dict[str, Tensor] | None:
    """Our weights by name; None if `is_exact` and a weight that our model lacks is not neutral."""
    vocab_size: int = values["vocab_size"]
    # Before any module is built: a config that claims a billion layers must come with their weights.
    if vocab_size < 1 or 4 * config.n_layer > len(weights) or vocab_size * config.n_embd > weights.size:
        what = f"{config.n_layer} layers, vocabulary {vocab_size}, width {config.n_embd} do not fit its weights"
        raise damaged(place, what)
    if 8 * config.block_size * config.n_embd > max(TABLES_LIMIT, weights.size):
        raise damaged(place, f"a context of {config.block_size} is too much for {weights.size:,} bytes")
    rules = list(family.rules(config, vocab_size, values))
    refuse_leftovers(family, config, rules, weights)
    with without_weights():
        wanted = {key: tuple(tensor.shape) for key, tensor in GPT(config, vocab_size).state_dict().items()}
    state: dict[str, Tensor] = {}
    for rule in rules:
        weight = _joined(rule, family, weights)
        if weight is not None and rule.ours in wanted:
            state[rule.ours] = weight
        elif weight is None or not torch.equal(weight, rule.filled(weight.dtype)):
            if is_exact:
                return None
            what = f"our parts cannot express the weights {', '.join(rule.theirs)}"
            raise CheckpointError(what, str(weights.folder), "take a model without these")
    for key in wanted.keys() - state.keys():  # the file may have only attention or only MLP biases
        state[key] = torch.zeros(wanted[key], dtype=state["wte.weight"].dtype)
    return state


def _model(config: GPTConfig, vocab_size: int, state: dict[str, Tensor]) -> GPT:
    """Build the model with these weights, in the widest of their dtypes."""
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in state.values()))
    with without_weights():
        model = GPT(config, vocab_size)
    model.load_state_dict({key: tensor.to(dtype) for key, tensor in state.items()}, assign=True)
    return model.to(dtype).eval()


def _joined(rule: Rule, family: Family, weights: WeightSource) -> Tensor | None:
    """Join their weights into ours, None if impossible; checks name, dtype and shape before reading."""
    parts = []
    for name, shape in zip(rule.theirs, rule.shapes, strict=True):
        full = next((n for n in (family.prefix + name, name) if n in weights), None)
        if full is None:
            raise damaged(weights.folder, f"the weight {name!r} is missing")
        entry, expected = weights[full], shape[::-1] if rule.is_transposed else shape
        if entry.shape != expected:
            raise damaged(weights.folder, f"{full} has the shape {entry.shape}, the config says {expected}")
        if entry.dtype not in TYPES:
            raise CheckpointError(f"{full} is of type {entry.dtype[:20]}", str(weights.folder), "dequantize it first")
        try:
            parts.append(weights.read(full))
        except (SafetensorError, OSError, RuntimeError) as error:
            raise damaged(weights.folder, str(error)) from None
    return rule.join(parts)
