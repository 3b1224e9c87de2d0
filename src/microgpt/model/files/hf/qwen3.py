"""Qwen3 as transformers stores it: Llama with normalised queries and keys (https://arxiv.org/abs/2505.09388)."""

from collections.abc import Iterator, Mapping
from typing import Any

from microgpt.model.config import GPTConfig
from microgpt.model.files.hf.family import GATE_NAMES, Rule, common_blockers, linear, part_blockers
from microgpt.model.files.hf.llama import Llama
from microgpt.model.files.hf.rope import rope_blockers


class Qwen3(Llama, model_type="qwen3"):
    """Qwen3. Our query and key norms have no gain, so theirs is one. Squared ReLU is relu(x) x, a self-gated MLP."""

    architecture = "Qwen3ForCausalLM"

    def blockers(self, config: GPTConfig) -> Iterator[str]:
        yield from part_blockers(config, "rmsnorm", ["rope"], [*GATE_NAMES, "relu2"])
        yield from rope_blockers(config)
        if config.bias:
            yield "bias=true"
        if not config.qk_norm:
            yield "qk_norm=false"
        yield from (field for field in common_blockers(config) if not field.startswith("qk_norm"))

    def write_config(self, config: GPTConfig, vocab_size: int) -> dict[str, Any]:
        values = super().write_config(config, vocab_size)
        del values["mlp_bias"]
        hidden_act = GATE_NAMES.get(config.mlp.name, "relu")
        return {**values, "hidden_act": hidden_act, "use_sliding_window": False}

    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        knobs, refused = super().read_config({"head_dim": 128, **values})
        if values.get("use_sliding_window"):
            refused.append("use_sliding_window=True")
        return {**knobs, "qk_norm": True}, refused

    def rules(self, config: GPTConfig, vocab_size: int, values: Mapping[str, Any]) -> Iterator[Rule]:
        yield from super().rules(config, vocab_size, values)
        for i in range(config.n_layer):
            for part in "qk":
                name = f"layers.{i}.self_attn.{part}_norm.weight"
                yield Rule("", (name,), ((config.head_width,),), filling=1.0)

    def ungated(self, config: GPTConfig, ours: str, gate: str, up: str, has_bias: bool) -> Iterator[Rule]:
        (rule,) = linear(ours, (gate, up), (config.hidden, config.hidden), config.n_embd, has_bias)
        yield Rule(rule.ours, rule.theirs, rule.shapes, is_repeated=True)
