"""Mistral as transformers stores it: Llama with a sliding window (https://arxiv.org/abs/2310.06825)."""

from collections.abc import Mapping
from typing import Any

from microgpt.model.files.hf.llama import Llama


class Mistral(Llama, model_type="mistral"):
    """Mistral, where the window is absent or no shorter than the context."""

    architecture = "MistralForCausalLM"
    is_written = False

    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        knobs, refused = super().read_config({"num_key_value_heads": 8, "max_position_embeddings": 131072, **values})
        window = values.get("sliding_window", 4096)
        if window is not None and not (type(window) is int and window >= knobs["block_size"]):
            refused.append(f"sliding_window={window}")
        return knobs, refused
