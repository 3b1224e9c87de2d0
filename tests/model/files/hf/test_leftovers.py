"""Nothing in a Hugging Face folder is dropped in silence: weights, constants and fields that our parts do not read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from microgpt.errors import CheckpointError
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.hf import read_model, write_model

T, D = 24, 8
FAMILIES = {
    "gpt2": {"norm": "layernorm", "pos": "learned", "bias": True, "mlp": "gelu_tanh", "tie_weights": True},
    "llama": {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "tie_weights": True},
    "qwen3": {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "tie_weights": True, "qk_norm": True, "bias": False},
}
TABLES = {"gpt2": "transformer.wte.weight", "llama": "model.embed_tokens.weight", "qwen3": "model.embed_tokens.weight"}
MASK = torch.ones(T, T).tril().view(1, 1, T, T)
ANGLES = 10_000.0 ** (-torch.arange(0, D, 2) / D)


@pytest.fixture(params=[(family, hint) for family in FAMILIES for hint in (True, False)], ids=str)
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A tied model of each family, as our export writes it and without our own hint."""
    family, hint = request.param
    torch.manual_seed(0)
    config = {"n_layer": 2, "n_head": 4, "n_embd": 4 * D, "block_size": T, **FAMILIES[family]}
    assert write_model(tmp_path, GPT(GPTConfig.from_dict(config), 65)).model_type == family
    if not hint:
        edit(tmp_path, microgpt=None)
    return tmp_path


def kind(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text())["model_type"])


def edit(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def add(folder: Path, **tensors: Tensor) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | tensors, path)


def test_a_second_head_that_is_not_the_embedding_is_refused(folder: Path) -> None:
    table = load_file(folder / "model.safetensors")[TABLES[kind(folder)]]
    before = read_model(folder).state_dict()
    add(folder, **{"lm_head.weight": table.clone()})
    assert all(torch.equal(before[name], tensor) for name, tensor in read_model(folder).state_dict().items())
    for other in (table + 1e-3, table[:60].clone(), table.double() + 1e-9):
        add(folder, **{"lm_head.weight": other})
        with pytest.raises(CheckpointError, match=r"lm_head.weight is not the token embedding.*tie_word_embeddings"):
            read_model(folder)


def test_a_weight_more_or_less_is_refused_by_name(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    for name in list(weights):
        rest = {key: tensor for key, tensor in weights.items() if key != name}
        save_file(rest, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=name.split(".", 1)[1] + "|do not fit"):
            read_model(folder)
        for more in (f"{name}_scale", name.replace("weight", "bias_2"), f"extra.{name}", name.replace(".0.", ".7.")):
            if more not in weights:
                save_file(weights | {more: torch.ones(3)}, folder / "model.safetensors")
                with pytest.raises(CheckpointError, match=f"cannot express: '{more}'"):
                    read_model(folder)


def test_constants_of_older_files_must_be_those_that_we_compute_with(folder: Path) -> None:
    if kind(folder) == "gpt2":
        right = {
            "transformer.h.0.attn.bias": MASK.to(torch.uint8),
            "transformer.h.0.attn.masked_bias": -torch.tensor(1e4),
        }
        wrong = {"transformer.h.0.attn.bias": 1 - MASK, "transformer.h.1.attn.masked_bias": torch.tensor(0.0)}
    else:
        right = {"model.layers.0.self_attn.rotary_emb.inv_freq": ANGLES.half()}
        wrong = {
            "model.layers.0.self_attn.rotary_emb.inv_freq": ANGLES / 4,
            "model.layers.1.self_attn.rotary_emb.inv_freq": torch.ones(3),
        }
    add(folder, **right)
    read_model(folder)
    weights = load_file(folder / "model.safetensors")
    for name, tensor in wrong.items():
        save_file(weights | {name: tensor}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=f"cannot express: '{name}'"):
            read_model(folder)


@pytest.mark.parametrize(
    ("field", "value", "neutral"),
    [
        ("final_logit_softcapping", 30.0, None),
        ("attn_logit_softcapping", 50.0, 0.0),
        ("embedding_multiplier", 12.0, 1.0),
        ("residual_multiplier", 0.22, 1),
        ("attention_multiplier", 0.0078, None),
        ("logits_scaling", 8.0, 1.0),
        ("logit_scale", 0.0625, 1.0),
        ("clip_qkv", 8.0, None),
        ("sliding_window", 16, None),
        ("layer_types", ["full_attention", "sliding_attention"], ["full_attention", "full_attention"]),
        ("no_rope_layers", [1, 0], []),
        ("rope_interleaved", True, False),
        ("num_experts", 8, None),
        ("num_local_experts", 8, 1),
        ("use_parallel_residual", True, False),
        ("use_qk_norm", True, False),
        ("alibi", True, False),
    ],
)
def test_fields_that_change_the_computation_are_refused_by_name(
    folder: Path, field: str, value: object, neutral: object
) -> None:
    edit(folder, use_sliding_window=None, **{field: neutral})
    read_model(folder)
    edit(folder, **{field: value})
    with pytest.raises(CheckpointError, match=rf"cannot express {field}="):
        read_model(folder)
