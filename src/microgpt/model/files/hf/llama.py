"""Llama as transformers stores it: RMSNorm, rotary positions, a gated MLP, grouped-query attention, optional biases.

https://arxiv.org/abs/2302.13971
"""

from collections.abc import Iterator, Mapping
from typing import Any

from microgpt.model.config import GPTConfig
from microgpt.model.files.hf.family import (
    ACTIVATION_NAMES,
    GATE_NAMES,
    GATES,
    Family,
    Rule,
    common_blockers,
    linear,
    norm,
    part_blockers,
    typed,
)
from microgpt.model.files.hf.rope import read_rope, rope_blockers, write_rope
from microgpt.model.pos.rope import RoPEConfig


class Llama(Family, model_type="llama"):
    """Llama. An ungated MLP sets the factor beside the gate to one: `up_proj` has zero weights and a bias of one."""

    architecture = "LlamaForCausalLM"
    prefix = "model."

    def blockers(self, config: GPTConfig) -> Iterator[str]:
        yield from part_blockers(config, "rmsnorm", ["rope"], ACTIVATION_NAMES | GATE_NAMES)
        yield from rope_blockers(config)
        yield from common_blockers(config)

    def write_config(self, config: GPTConfig, vocab_size: int) -> dict[str, Any]:
        assert isinstance(config.pos, RoPEConfig)
        is_gated = config.mlp.name in GATE_NAMES
        return {
            "vocab_size": vocab_size,
            "max_position_embeddings": config.block_size,
            "hidden_size": config.n_embd,
            "num_hidden_layers": config.n_layer,
            "num_attention_heads": config.n_head,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_width,
            "intermediate_size": config.hidden,
            "hidden_act": (ACTIVATION_NAMES | GATE_NAMES)[config.mlp.name],
            "rms_norm_eps": config.norm_eps,
            "attention_dropout": config.dropout,
            "attention_bias": config.bias,
            "mlp_bias": config.bias or not is_gated,
            "tie_word_embeddings": config.tie_weights,
            "rope_theta": config.pos.theta,  # transformers reads this before version 5
            **write_rope(config.pos),
        }

    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        pos, refused = read_rope(values)
        activation = typed(values, "hidden_act", str, "silu")
        C, H = typed(values, "hidden_size", int, 4096), typed(values, "num_attention_heads", int, 32)
        head_dim = typed(values, "head_dim", int, None)
        is_ours = {
            f"partial_rotary_factor={pos['fraction']}": pos["fraction"] == 1.0,
            f"hidden_act={activation}": activation in GATES,
            f"head_dim={head_dim}": head_dim is None or head_dim * H == C,
        }
        refused += [field for field, ok in is_ours.items() if not ok]
        knobs = {
            "n_layer": typed(values, "num_hidden_layers", int, 32),
            "n_head": H,
            "n_kv_head": typed(values, "num_key_value_heads", int, None),
            "n_embd": C,
            "block_size": typed(values, "max_position_embeddings", int, 2048),
            "mlp_hidden": typed(values, "intermediate_size", int, 11008),
            "dropout": typed(values, "attention_dropout", float, 0.0),
            "norm_eps": typed(values, "rms_norm_eps", float, 1e-6),
            "tie_weights": typed(values, "tie_word_embeddings", bool, False),
            "pos": pos,
            "norm": "rmsnorm",
            "mlp": GATES.get(activation, "swiglu"),
            "bias": typed(values, "attention_bias", bool, False) or typed(values, "mlp_bias", bool, False),
        }
        return knobs, refused

    def rules(self, config: GPTConfig, vocab_size: int, values: Mapping[str, Any]) -> Iterator[Rule]:
        C, D, hidden = config.n_embd, config.head_width, config.hidden
        heads = (config.n_head * D, config.kv_heads * D, config.kv_heads * D)
        attention_bias, mlp_bias = bool(values.get("attention_bias")), bool(values.get("mlp_bias"))
        yield Rule("wte.weight", ("embed_tokens.weight",), ((vocab_size, C),))
        for i in range(config.n_layer):
            ours, theirs = f"blocks.{i}", f"layers.{i}"
            gate, up = f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"
            yield from norm(f"{ours}.norm1", f"{theirs}.input_layernorm", C, False)
            qkv = tuple(f"{theirs}.self_attn.{part}_proj" for part in "qkv")
            yield from linear(f"{ours}.attn.qkv", qkv, heads, C, attention_bias)
            yield from linear(f"{ours}.attn.out", (f"{theirs}.self_attn.o_proj",), (C,), C, attention_bias)
            yield from norm(f"{ours}.norm2", f"{theirs}.post_attention_layernorm", C, False)
            if config.mlp.name in GATE_NAMES:
                yield from linear(f"{ours}.mlp.widen", (gate, up), (hidden, hidden), C, mlp_bias)
            else:
                yield from self.ungated(config, f"{ours}.mlp.widen", gate, up, mlp_bias)
            yield from linear(f"{ours}.mlp.out", (f"{theirs}.mlp.down_proj",), (C,), hidden, mlp_bias)
        yield from norm("norm", "norm", C, False)
        if not config.tie_weights:
            yield from linear("head", ("lm_head",), (vocab_size,), C, False)

    def ungated(self, config: GPTConfig, ours: str, gate: str, up: str, has_bias: bool) -> Iterator[Rule]:
        """The rules of an ungated MLP's first layer."""
        yield from linear(ours, (gate,), (config.hidden,), config.n_embd, has_bias)
        yield Rule("", (f"{up}.weight",), ((config.hidden, config.n_embd),), filling=0.0)
        yield Rule("", (f"{up}.bias",), ((config.hidden,),), filling=1.0)
