"""Refuse whatever in a Hugging Face folder would change the model and is not read: weights, constants and fields."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from microgpt.errors import CheckpointError
from microgpt.model.config import GPTConfig
from microgpt.model.files.hf.family import Family, Rule
from microgpt.model.files.hf.source import CONFIG, WeightSource
from microgpt.model.files.untrusted import damaged
from microgpt.model.pos.rope import RoPEConfig
from microgpt.text import shown

MASKS, MASKED, FREQUENCIES = (".attn.bias", ".attention.bias"), ".masked_bias", ".rotary_emb.inv_freq"
"Constants that older files store among their weights: the causal mask, its value for hidden tokens, rotary angles."
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "alibi": (False,),
    "attention_chunk_size": (0,),
    "attention_multiplier": (),
    "attn_logit_softcapping": (0, 0.0),
    "clip_qkv": (0, 0.0),
    "embedding_multiplier": (1, 1.0),
    "final_logit_softcapping": (0, 0.0),
    "layer_types": (),
    "logit_scale": (1, 1.0),
    "logits_scaling": (1, 1.0),
    "no_rope_layers": ([],),
    "num_experts": (0, 1),
    "num_local_experts": (0, 1),
    "qk_layernorm": (False,),
    "residual_multiplier": (1, 1.0),
    "rope_interleaved": (False,),
    "sliding_window": (),
    "use_parallel_residual": (False,),
    "use_qk_norm": (False,),
}
"Fields of related architectures that change the computation -> the values, beside null, at which they do not."


def odd_fields(values: Mapping[str, Any], family: Family) -> Iterator[str]:
    """Yield the fields of config.json, as `name=value`, that change the computation and that the family does not
    read."""
    for name, neutral in NEUTRAL.items():
        value = values.get(name)
        if value is None or value in neutral or name in family.own_fields:
            continue
        if name == "layer_types" and isinstance(value, list) and set(map(str, value)) == {"full_attention"}:
            continue
        if name == "sliding_window" and (values.get("use_sliding_window") is False or _is_whole(value, values)):
            continue
        yield f"{name}={shown(value)}"


def _is_whole(window: Any, values: Mapping[str, Any]) -> bool:
    """Whether a window of attention is no shorter than the context."""
    context = values.get("max_position_embeddings")
    return type(window) is int and type(context) is int and window >= context


def refuse_leftovers(family: Family, config: GPTConfig, rules: list[Rule], weights: WeightSource) -> None:
    """Refuse weights that no rule covers: without them it would not be the trained model.

    A tied head may be stored twice, and constants may be stored, if they have the values that our model computes with.

    Raises:
        CheckpointError: there are such weights; names them.
    """
    known = {name for rule in rules for name in rule.theirs}
    left = [name for name in weights if name.removeprefix(family.prefix) not in known]
    tables = [table for rule in rules if rule.ours == "wte.weight" for table in rule.theirs]
    odd = [name for name in left if not _is_expected(name, family, config, weights, tables)]
    head = f"{family.head}.weight"
    if head in odd:
        what = f"{head} is not the token embedding, to which config.json ties it"
        fix = "write tie_word_embeddings=false there if the model was trained so"
        raise CheckpointError(what, str(weights.folder / CONFIG), fix)
    if odd:
        listed = ", ".join(repr(name[:60]) for name in sorted(odd)[:5])
        raise CheckpointError(f"{len(odd)} weights that our parts cannot express: {listed}", str(weights.folder))


def _is_expected(name: str, family: Family, config: GPTConfig, weights: WeightSource, tables: list[str]) -> bool:
    """Whether a weight that no rule reads holds what our model computes with anyway."""
    shape, T = weights[name].shape, config.block_size
    if name == f"{family.head}.weight":
        names = [full for full in weights if full.removeprefix(family.prefix) in tables]
        return any(
            weights[full].shape == shape and torch.equal(_read(full, weights), _read(name, weights)) for full in names
        )
    if name.endswith(MASKED):
        return shape in ((), (1,)) and bool((_read(name, weights) <= -1e4).all())
    if name.endswith(MASKS):
        return shape == (1, 1, T, T) and torch.equal(_read(name, weights)[0, 0].bool(), torch.ones(T, T).tril().bool())
    if name.endswith(FREQUENCIES) and isinstance(config.pos, RoPEConfig):
        width = config.pos.rotated(config.head_width)
        angles = config.pos.theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)  # (width / 2,)
        return shape == (width // 2,) and torch.allclose(_read(name, weights).double(), angles, rtol=1e-2)
    return False


def _read(name: str, weights: WeightSource) -> Tensor:
    try:
        return weights.read(name)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise damaged(weights.folder, str(error)) from None
