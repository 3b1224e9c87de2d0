"""How llama.cpp names the parts of the architectures that we share: weights and metadata, beside Hugging Face's names.

The reader and the writer (engine/exchange/formats/gguf.py) use the same tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass

BLOCK = "blk.{i}."
LLAMA_WEIGHTS = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "output": "lm_head",
    "blk.{i}.attn_norm": "layers.{i}.input_layernorm",
    "blk.{i}.attn_q": "layers.{i}.self_attn.q_proj",
    "blk.{i}.attn_k": "layers.{i}.self_attn.k_proj",
    "blk.{i}.attn_v": "layers.{i}.self_attn.v_proj",
    "blk.{i}.attn_output": "layers.{i}.self_attn.o_proj",
    "blk.{i}.ffn_norm": "layers.{i}.post_attention_layernorm",
    "blk.{i}.ffn_gate": "layers.{i}.mlp.gate_proj",
    "blk.{i}.ffn_up": "layers.{i}.mlp.up_proj",
    "blk.{i}.ffn_down": "layers.{i}.mlp.down_proj",
}
QWEN3_WEIGHTS = {
    **LLAMA_WEIGHTS,
    "blk.{i}.attn_q_norm": "layers.{i}.self_attn.q_norm",
    "blk.{i}.attn_k_norm": "layers.{i}.self_attn.k_norm",
}
GPT2_WEIGHTS = {
    "token_embd": "wte",
    "position_embd": "wpe",
    "output_norm": "ln_f",
    "output": "lm_head",
    "blk.{i}.attn_norm": "h.{i}.ln_1",
    "blk.{i}.attn_qkv": "h.{i}.attn.c_attn",
    "blk.{i}.attn_output": "h.{i}.attn.c_proj",
    "blk.{i}.ffn_norm": "h.{i}.ln_2",
    "blk.{i}.ffn_up": "h.{i}.mlp.c_fc",
    "blk.{i}.ffn_down": "h.{i}.mlp.c_proj",
}
SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
GPT2_SIZES = {
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "feed_forward_length": "n_inner",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}


@dataclass(frozen=True)
class Architecture:
    """One of llama.cpp's architectures."""

    model_type: str
    "Its name, which is Hugging Face's model_type as well."
    weights: Mapping[str, str]
    "Its weights' names -> Hugging Face's, both without `.weight` or `.bias`; {i} is the layer."
    sizes: Mapping[str, str]
    "Its metadata -> Hugging Face's keys of config.json."
    mlp: str
    "The only MLP that it has, by our name."
    transposed: tuple[str, ...] = ()
    "Ends of its weights' names whose matrices Hugging Face stores the other way round."
    interleaved: tuple[str, ...] = ()
    "Ends of its weights' names in which rotary pairs are neighbours; in Hugging Face's they are half a head apart."

    def layered(self, n_layer: int) -> dict[str, str]:
        """The names of the weights of `n_layer` layers: llama.cpp's -> Hugging Face's."""
        names = {}
        for theirs, name in self.weights.items():
            layers = range(n_layer) if "{i}" in theirs else range(1)
            names.update({theirs.format(i=i): name.format(i=i) for i in layers})
        return names


ARCHITECTURES = {
    "llama": Architecture("llama", LLAMA_WEIGHTS, SIZES, "swiglu", interleaved=(".attn_q", ".attn_k")),
    "qwen3": Architecture("qwen3", QWEN3_WEIGHTS, SIZES, "swiglu"),
    "gpt2": Architecture(
        "gpt2", GPT2_WEIGHTS, GPT2_SIZES, "gelu_tanh", (".attn_qkv", ".attn_output", ".ffn_up", ".ffn_down")
    ),
}
