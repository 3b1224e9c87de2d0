"""Write a GPT as a folder for transformers: config.json, generation_config.json, model.safetensors."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from microgpt.model.files.hf.family import Family, family_for
from microgpt.model.files.hf.read import HINT
from microgpt.model.files.hf.source import CONFIG, WEIGHTS
from microgpt.model.gpt import GPT


def write_model(
    folder: Path, model: GPT, end_token: int | Sequence[int] | None = None, start_token: int | None = None
) -> Family:
    """Write the model into an existing folder.

    Args:
        end_token: the token or tokens that end generation, if the vocabulary has any.
        start_token: the token that starts a text; None for the first end token, as in GPT-2.

    Returns:
        The family in whose format the model was written.

    Raises:
        UsageError: no stock class expresses the model; names the fields that prevent it.
    """
    family = family_for(model.config)
    ends = [end_token] if isinstance(end_token, int) else list(end_token or ())
    first, eos = (ends[0], ends if len(ends) > 1 else ends[0]) if ends else (None, None)
    first = first if start_token is None else start_token
    dtype = str(model.wte.weight.dtype).removeprefix("torch.")
    config: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **family.write_config(model.config, model.vocab_size),
        "bos_token_id": first,
        "eos_token_id": eos,
        "dtype": dtype,
        "torch_dtype": dtype,
        HINT: model.config.to_dict(),
    }
    generation = {"bos_token_id": first, "eos_token_id": eos, "do_sample": True, "temperature": 0.8}
    save_file(dict(their_weights(family, model, config)), folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    for name, values in ((CONFIG, config), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return family


@torch.no_grad()
def their_weights(family: Family, model: GPT, values: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the family's weights by full name."""
    ours = model.state_dict()
    for rule in family.rules(model.config, model.vocab_size, values):
        weight = ours[rule.ours].detach().cpu() if rule.ours in ours else rule.filled(model.wte.weight.dtype)
        for name, part in rule.split(weight):
            yield (name if name.startswith(f"{family.head}.") else family.prefix + name), part
