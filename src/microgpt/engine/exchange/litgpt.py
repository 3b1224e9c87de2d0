"""Read litgpt's checkpoints (https://github.com/Lightning-AI/litgpt): lit_model.pth and model_config.yaml.

Queries, keys and values are in one matrix, in this order, as ours are; files of older versions order it by groups of
heads that share a key.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microgpt.config import ConfigError
from microgpt.engine.exchange.filled import Origin, drop_tied_head, fill, rename
from microgpt.engine.exchange.pickled import read_pickle
from microgpt.engine.store.config_file import read_config
from microgpt.errors import CheckpointError
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.hf.family import typed
from microgpt.text import cut, one_line, shown

WEIGHTS, CONFIG = "lit_model.pth", "model_config.yaml"
STATE = {"model", "optimizer", "scheduler", "train_dataloader", "hparams", "iter_num", "step_count"}
"What a pretraining run saves; all but the first describe the training."
NAMES = {
    "transformer.wte.": "wte.",
    "transformer.ln_f.": "norm.",
    "lm_head.": "head.",
    "transformer.h.": "blocks.",
    ".norm_1.": ".norm1.",
    ".norm_2.": ".norm2.",
    ".post_attention_norm.": ".post_norm1.",
    ".post_mlp_norm.": ".post_norm2.",
    ".attn.proj.": ".attn.out.",
    ".mlp.fc.": ".mlp.widen.",
    ".mlp.proj.": ".mlp.out.",
}
"Parts of litgpt's weight names -> ours."
READ = {
    "name", "hf_config", "block_size", "n_layer", "n_embd", "n_head", "head_size", "n_query_groups", "vocab_size",
    "padded_vocab_size", "norm_class_name", "norm_eps", "post_attention_norm", "post_mlp_norm", "parallel_residual",
    "shared_attention_norm", "bias", "attn_bias", "rope_base", "rotary_percentage", "intermediate_size",
    "mlp_class_name", "gelu_approximate", "final_logit_softcapping", "sliding_window_size",
}  # fmt: skip
"The fields that we read."
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_logit_softcapping": (), "attention_scores_scalar": (), "first_k_dense_replace": (),
    "latent_attention": (), "lm_head_bias": (False,), "moe_intermediate_size": (), "n_expert": (0,),
    "n_shared_expert": (0,), "norm_1": (True,), "norm_2": (True,), "norm_qk": (False,), "rope_adjustments": ({},),
    "rope_condense_ratio": (1,), "rope_indices": (), "rope_interleave": (False,), "rope_local_base_freq": (),
    "scale_embeddings": (False,),
}  # fmt: skip
"Fields that change the computation -> the values, beside null, at which they do not."
SILENT = {
    "n_expert_groups", "n_expert_per_token", "n_topk_groups", "n_topk_scores_per_group", "norm_qk_type",
    "norm_topk_prob", "padding_multiple", "routed_scaling_factor", "sliding_window_indices",
    "sliding_window_layer_placing", "sliding_window_layer_stride",
}  # fmt: skip
"Fields that change nothing by themselves."
MLPS = {("GptNeoxMLP", "none"): "gelu", ("GptNeoxMLP", "tanh"): "gelu_tanh", ("GemmaMLP", "none"): "geglu",
        ("LLaMAMLP", "none"): "swiglu", ("LLaMAMLP", "tanh"): "swiglu"}  # fmt: skip
NORMS = {"LayerNorm": "layernorm", "RMSNorm": "rmsnorm"}


def read_checkpoint(folder: Path) -> GPT:
    """Read the model of a litgpt folder, in eval mode.

    Raises:
        UsageError: the environment disables torch's protection.
        CheckpointError: it is no such folder, or our parts cannot express the model; names the fields.
    """
    if not folder.is_dir():
        raise CheckpointError("not a folder", str(folder), f"name the folder that holds {WEIGHTS} and {CONFIG}")
    values = read_values(folder / CONFIG)
    try:
        if refused := list(unexpressed(values)):
            what = cut(f"our parts cannot express {', '.join(refused)}", 300)
            raise CheckpointError(what, str(folder / CONFIG), "take a model without these")
        origin = Origin(folder / WEIGHTS, "litgpt", CONFIG)
        weights = read_weights(folder / WEIGHTS, values, origin)
        knobs = read_knobs(values) | {"tie_weights": drop_tied_head(weights)}
        vocab_size = typed(values, "padded_vocab_size", int, None) or len(weights["wte.weight"])
        return fill(GPTConfig.from_dict(knobs), vocab_size, weights, origin)
    except ConfigError as error:
        raise CheckpointError(one_line(str(error.faults[0])), str(folder / CONFIG)) from None
    except (ArithmeticError, TypeError, ValueError) as error:
        raise CheckpointError(one_line(f"not litgpt's fields ({error})"), str(folder / CONFIG)) from None


def read_values(path: Path) -> dict[str, Any]:
    """The fields of a model_config.yaml, untrusted."""
    try:
        return read_config(path)
    except FileNotFoundError:
        raise CheckpointError("no such file", str(path), f"litgpt writes it beside {WEIGHTS}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(one_line(f"cannot be read ({error})"), str(path), "copy it again") from None


def unexpressed(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields, as `name=value`, that our parts cannot express."""
    for name, value in values.items():
        is_neutral = value is None or name in READ | SILENT or value in NEUTRAL.get(name, ())
        if not is_neutral:
            yield f"{one_line(name, 40)}={shown(value)}"
    width, heads = typed(values, "n_embd", int, 4096), typed(values, "n_head", int, 32)
    head_size = typed(values, "head_size", int, None)
    if head_size is not None and head_size * heads != width:
        yield f"head_size={head_size}"
    window = typed(values, "sliding_window_size", int, None)
    if window is not None and window < typed(values, "block_size", int, 4096):
        yield f"sliding_window_size={window}"
    norm, (mlp, gelu) = typed(values, "norm_class_name", str, "LayerNorm"), mlp_of(values)
    if norm not in NORMS:
        yield f"norm_class_name={shown(norm)}"
    elif norm == "RMSNorm" and "Gemma" in name_of(values):
        yield f"name={shown(name_of(values))}, whose norms add one to their gains"
    if (mlp, gelu) not in MLPS:
        yield f"mlp_class_name={shown(mlp)} with gelu_approximate={shown(gelu)}"
    after = [typed(values, f"post_{part}_norm", bool, False) for part in ("attention", "mlp")]
    if len(set(after)) > 1:
        yield f"post_attention_norm={after[0]} with post_mlp_norm={after[1]}"


def name_of(values: Mapping[str, Any]) -> str:
    """The model's name, by which litgpt knows Gemma's and OLMo's norms."""
    name: str = typed(values, "name", str, "") or typed(typed(values, "hf_config", dict, {}), "name", str, "")
    return name


def mlp_of(values: Mapping[str, Any]) -> tuple[str, str]:
    """The class of its MLP, and the kind of its GELU."""
    return typed(values, "mlp_class_name", str, "GptNeoxMLP"), typed(values, "gelu_approximate", str, "none")


def has_biases(values: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether its matrices have a bias: that of queries, keys and values, and the others."""
    bias = typed(values, "bias", bool, True)
    return bias or typed(values, "attn_bias", bool, False), bias


def read_knobs(values: Mapping[str, Any]) -> dict[str, Any]:
    """Our knobs, for fields that we can express; litgpt's defaults where one is missing."""
    norm = NORMS[typed(values, "norm_class_name", str, "LayerNorm")]
    affine = norm != "layernorm" or "OLMo" not in name_of(values)
    width = typed(values, "n_embd", int, 4096)
    return {
        "n_layer": typed(values, "n_layer", int, 16),
        "n_head": typed(values, "n_head", int, 32),
        "n_kv_head": typed(values, "n_query_groups", int, None),
        "n_embd": width,
        "block_size": typed(values, "block_size", int, 4096),
        "pos": {
            "name": "rope",
            "theta": typed(values, "rope_base", float, 10_000.0),
            "fraction": typed(values, "rotary_percentage", float, 0.25),
        },
        "norm": norm,
        "norm_place": "sandwich" if typed(values, "post_mlp_norm", bool, False) else "pre",
        "norm_eps": typed(values, "norm_eps", float, 1e-5),
        "norm_affine": affine,
        "residual": "parallel" if typed(values, "parallel_residual", bool, True) else "sequential",
        "mlp": MLPS[mlp_of(values)],
        "mlp_hidden": typed(values, "intermediate_size", int, None) or 4 * width,
        "bias": has_biases(values)[0] or (norm == "layernorm" and affine),
        "logit_softcap": typed(values, "final_logit_softcapping", float, 0.0),
    }


def read_weights(path: Path, values: Mapping[str, Any], origin: Origin) -> dict[str, Tensor]:
    """The weights under our names and in our order, with zeros for the biases that litgpt's model lacks.

    Raises:
        CheckpointError: there is something else in the file, or a part of a weight is missing.
    """
    state: Mapping[Any, Any] = read_pickle(path)
    if "model" in state:
        origin.refuse(state.keys() - STATE)
        state = state["model"] if isinstance(state["model"], Mapping) else {}
    weights: dict[str, Tensor] = {}
    for name, tensor in state.items():
        ours = rename(str(name), NAMES)
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or not tensor.dim() or ours in weights:
            origin.refuse([name])
        weights[ours] = tensor
    if "wte.weight" not in weights or "head.weight" not in weights:
        raise CheckpointError("no transformer.wte and lm_head", str(path), "name a folder that litgpt wrote")
    for name in [name for name in weights if ".attn.attn." in name]:
        weights[name.replace(".attn.attn.", ".attn.qkv.")] = ungrouped(weights.pop(name), values)
    for name in [name for name in weights if ".mlp.fc_1." in name]:
        gate, up = weights.pop(name), weights.pop(name.replace("fc_1", "fc_2"), None)
        if up is None or up.shape != gate.shape:
            raise CheckpointError(f"{shown(name, 80)} has no fc_2 of its shape", str(path), "the file is damaged")
        weights[name.replace("fc_1", "widen")] = torch.cat((gate, up))
    if typed(values, "shared_attention_norm", bool, False):
        for name in [name for name in weights if ".norm1." in name]:
            weights[name.replace(".norm1.", ".norm2.")] = weights[name].clone()
    add_biases(weights, values, origin)
    return weights


def ungrouped(weight: Tensor, values: Mapping[str, Any]) -> Tensor:
    """Rows ordered by groups, each of its queries, its key and its value, reordered to queries, keys and values."""
    heads = typed(values, "n_head", int, 32)
    groups = typed(values, "n_query_groups", int, None) or heads
    if groups < 1 or heads < 1 or len(weight) % (heads + 2 * groups):
        return weight  # whose shape is refused later
    rows = weight.reshape(groups, heads // groups + 2, -1, *weight.shape[1:])
    return torch.cat(
        [part.reshape(-1, *weight.shape[1:]) for part in torch.split(rows, [heads // groups, 1, 1], dim=1)]
    )


def add_biases(weights: dict[str, Tensor], values: Mapping[str, Any], origin: Origin) -> None:
    """Add zeros for the biases that litgpt's model lacks and ours has."""
    qkv, others = has_biases(values)
    is_needed = read_knobs(values)["bias"]
    for name in list(weights):
        stem, _, kind = name.rpartition(".")
        is_matrix = stem.endswith((".attn.qkv", ".attn.out", ".mlp.widen", ".mlp.out"))
        has_bias = qkv if stem.endswith(".attn.qkv") else others
        if is_matrix and kind == "bias" and not has_bias:
            origin.refuse([name])
        if is_matrix and kind == "weight" and is_needed and not has_bias:
            weights[f"{stem}.bias"] = weights[name].new_zeros(len(weights[name]))
