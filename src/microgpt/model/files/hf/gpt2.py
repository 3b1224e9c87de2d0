"""GPT-2 as transformers stores it: LayerNorm, a two-matrix MLP, a position table, biases everywhere.

https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from microgpt.model.config import GPTConfig
from microgpt.model.files.hf.family import (
    ACTIVATION_NAMES,
    ACTIVATIONS,
    Family,
    Rule,
    common_blockers,
    linear,
    norm,
    part_blockers,
    typed,
)

POSITIONS = ("learned", "sinusoidal", "none")
"Position schemes that a table of vectors added to the input can express."


class GPT2(Family, model_type="gpt2"):
    """GPT-2. If our model has no biases, theirs are zero. Sinusoidal and absent positions become tables, too."""

    architecture = "GPT2LMHeadModel"
    prefix = "transformer."

    def blockers(self, config: GPTConfig) -> Iterator[str]:
        yield from part_blockers(config, "layernorm", POSITIONS, ACTIVATION_NAMES)
        if config.kv_heads != config.n_head:
            yield f"n_kv_head={config.kv_heads}"
        yield from common_blockers(config)

    def write_config(self, config: GPTConfig, vocab_size: int) -> dict[str, Any]:
        return {
            "vocab_size": vocab_size,
            "n_positions": config.block_size,
            "n_ctx": config.block_size,  # its older name, which MLX and llama.cpp's converter read
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_inner": config.hidden,
            "activation_function": ACTIVATION_NAMES[config.mlp.name],
            "layer_norm_epsilon": config.norm_eps,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "tie_word_embeddings": config.tie_weights,
        }

    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        activation = typed(values, "activation_function", str, "gelu_new")
        is_ours = {
            "scale_attn_weights": typed(values, "scale_attn_weights", bool, True),
            "scale_attn_by_inverse_layer_idx": not values.get("scale_attn_by_inverse_layer_idx"),
            "add_cross_attention": not values.get("add_cross_attention"),
            "activation_function": activation in ACTIVATIONS,
        }
        refused = [f"{name}={values.get(name)}" for name, ok in is_ours.items() if not ok]
        knobs = {
            "n_layer": typed(values, "n_layer", int, 12),
            "n_head": typed(values, "n_head", int, 12),
            "n_embd": typed(values, "n_embd", int, 768),
            "block_size": typed(values, "n_positions", int, 1024),
            "mlp_hidden": typed(values, "n_inner", int, None),
            "mlp": ACTIVATIONS.get(activation, "gelu_tanh"),
            "dropout": min(typed(values, f"{place}_pdrop", float, 0.1) for place in ("resid", "embd", "attn")),
            "norm_eps": typed(values, "layer_norm_epsilon", float, 1e-5),
            "tie_weights": typed(values, "tie_word_embeddings", bool, True),
            "pos": "learned",
            "norm": "layernorm",
            "bias": True,
        }
        return knobs, refused

    def rules(self, config: GPTConfig, vocab_size: int, values: Mapping[str, Any]) -> Iterator[Rule]:
        C, T, hidden = config.n_embd, config.block_size, config.hidden
        yield Rule("wte.weight", ("wte.weight",), ((vocab_size, C),))
        table = 0.0 if config.pos.name == "learned" else positions(config)
        yield Rule("pos.wpe.weight", ("wpe.weight",), ((T, C),), filling=table)
        for i in range(config.n_layer):
            ours, theirs = f"blocks.{i}", f"h.{i}"
            yield from norm(f"{ours}.norm1", f"{theirs}.ln_1", C, True)
            yield from linear(f"{ours}.attn.qkv", (f"{theirs}.attn.c_attn",), (3 * C,), C, True, True)
            yield from linear(f"{ours}.attn.out", (f"{theirs}.attn.c_proj",), (C,), C, True, True)
            yield from norm(f"{ours}.norm2", f"{theirs}.ln_2", C, True)
            yield from linear(f"{ours}.mlp.widen", (f"{theirs}.mlp.c_fc",), (hidden,), C, True, True)
            yield from linear(f"{ours}.mlp.out", (f"{theirs}.mlp.c_proj",), (C,), hidden, True, True)
        yield from norm("norm", "ln_f", C, True)
        if not config.tie_weights:
            yield from linear("head", ("lm_head",), (vocab_size,), C, False)


def positions(config: GPTConfig) -> torch.Tensor:
    """The vectors (T, C) that a scheme without weights adds to the input."""
    scheme = config.pos.build(config.n_embd, config.n_head, config.block_size)
    return scheme.embed(torch.zeros(1, config.block_size, config.n_embd), 0)[0]
