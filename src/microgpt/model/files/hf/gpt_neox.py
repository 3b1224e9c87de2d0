"""GPT-NeoX as transformers stores it, of which Pythia is one: LayerNorm, partial rotary positions, a parallel residual.

https://arxiv.org/abs/2204.06745, https://arxiv.org/abs/2304.01373
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

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
from microgpt.model.files.hf.rope import read_rope, write_rope
from microgpt.model.pos.rope import RoPEConfig


class GPTNeoX(Family, model_type="gpt_neox"):
    """GPT-NeoX. Its queries, keys and values are in one matrix, ordered by head. Biases that ours lacks are zero."""

    architecture = "GPTNeoXForCausalLM"
    prefix = "gpt_neox."
    head = "embed_out"
    own_fields = frozenset({"use_parallel_residual"})

    def blockers(self, config: GPTConfig) -> Iterator[str]:
        yield from part_blockers(config, "layernorm", ["rope"], ACTIVATION_NAMES)
        if config.kv_heads != config.n_head:
            yield f"n_kv_head={config.kv_heads}"
        yield from (field for field in common_blockers(config) if not field.startswith("residual="))

    def write_config(self, config: GPTConfig, vocab_size: int) -> dict[str, Any]:
        assert isinstance(config.pos, RoPEConfig)
        return {
            "vocab_size": vocab_size,
            "max_position_embeddings": config.block_size,
            "hidden_size": config.n_embd,
            "num_hidden_layers": config.n_layer,
            "num_attention_heads": config.n_head,
            "intermediate_size": config.hidden,
            "hidden_act": ACTIVATION_NAMES[config.mlp.name],
            "layer_norm_eps": config.norm_eps,
            "attention_dropout": config.dropout,
            "hidden_dropout": config.dropout,
            "attention_bias": config.bias,
            "use_parallel_residual": config.residual == "parallel",
            "tie_word_embeddings": config.tie_weights,
            "rotary_emb_base": config.pos.theta,  # transformers reads these two before version 5
            "rotary_pct": config.pos.fraction,
            **write_rope(config.pos, is_whole=False),
        }

    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        pos, refused = read_rope(values, "rotary_emb_base", "rotary_pct", 0.25)
        activation = typed(values, "hidden_act", str, "gelu")
        if activation not in ACTIVATIONS:
            refused.append(f"hidden_act={activation}")
        knobs = {
            "n_layer": typed(values, "num_hidden_layers", int, 44),
            "n_head": typed(values, "num_attention_heads", int, 64),
            "n_embd": typed(values, "hidden_size", int, 6144),
            "block_size": typed(values, "max_position_embeddings", int, 2048),
            "mlp_hidden": typed(values, "intermediate_size", int, 24576),
            "mlp": ACTIVATIONS.get(activation, "gelu"),
            "dropout": min(typed(values, f"{place}_dropout", float, 0.0) for place in ("attention", "hidden")),
            "norm_eps": typed(values, "layer_norm_eps", float, 1e-5),
            "tie_weights": typed(values, "tie_word_embeddings", bool, False),
            "residual": "parallel" if typed(values, "use_parallel_residual", bool, True) else "sequential",
            "pos": pos,
            "norm": "layernorm",
            "bias": True,
        }
        return knobs, refused

    def rules(self, config: GPTConfig, vocab_size: int, values: Mapping[str, Any]) -> Iterator[Rule]:
        C, H, hidden = config.n_embd, config.n_head, config.hidden
        attention_bias = values.get("attention_bias") is not False
        yield Rule("wte.weight", ("embed_in.weight",), ((vocab_size, C),))
        for i in range(config.n_layer):
            ours, theirs = f"blocks.{i}", f"layers.{i}"
            qkv = f"{theirs}.attention.query_key_value"
            yield from norm(f"{ours}.norm1", f"{theirs}.input_layernorm", C, True)
            for rule in linear(f"{ours}.attn.qkv", (qkv,), (3 * C,), C, attention_bias):
                yield replace(rule, heads=H)
            yield from linear(f"{ours}.attn.out", (f"{theirs}.attention.dense",), (C,), C, attention_bias)
            yield from norm(f"{ours}.norm2", f"{theirs}.post_attention_layernorm", C, True)
            yield from linear(f"{ours}.mlp.widen", (f"{theirs}.mlp.dense_h_to_4h",), (hidden,), C, True)
            yield from linear(f"{ours}.mlp.out", (f"{theirs}.mlp.dense_4h_to_h",), (C,), hidden, True)
        yield from norm("norm", "final_layer_norm", C, True)
        if not config.tie_weights:
            yield from linear("head", (self.head,), (vocab_size,), C, False)
