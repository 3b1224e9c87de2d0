"""Qwen2 as transformers stores it: Llama with biases on queries, keys and values (https://arxiv.org/abs/2407.10671)."""

from collections.abc import Iterator, Mapping
from typing import Any

from microgpt.model.config import GPTConfig
from microgpt.model.files.hf.family import Rule, linear
from microgpt.model.files.hf.llama import Llama


class Qwen2(Llama, model_type="qwen2"):
    """Qwen2 and 2.5. Ours has biases on every matrix: those that theirs lack are zero."""

    architecture = "Qwen2ForCausalLM"
    is_written = False

    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        knobs, refused = super().read_config({**values, "attention_bias": True, "mlp_bias": False})
        if values.get("use_sliding_window"):
            refused.append("use_sliding_window=True")
        return knobs, refused

    def rules(self, config: GPTConfig, vocab_size: int, values: Mapping[str, Any]) -> Iterator[Rule]:
        bare = {**values, "attention_bias": False, "mlp_bias": False}
        yield from super().rules(config, vocab_size, bare)
        D = config.head_width
        heads = (config.n_head * D, config.kv_heads * D, config.kv_heads * D)
        for i in range(config.n_layer):
            qkv = tuple(f"layers.{i}.self_attn.{part}_proj" for part in "qkv")
            yield from list(linear(f"blocks.{i}.attn.qkv", qkv, heads, config.n_embd, True))[1:]
