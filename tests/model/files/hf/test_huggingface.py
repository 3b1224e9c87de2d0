"""The maps to Hugging Face's formats: equal logits both ways, equal weights there and back, refusals by name."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from microgpt.errors import CheckpointError, MachineError, UsageError
from microgpt.model import GPT, GPTConfig, save_model
from microgpt.model.files.hf import family_for, read_model, write_model
from microgpt.model.mlp import MLPConfig
from microgpt.model.norm import NormConfig

V = 65
GPT2_LIKE = {"norm": "layernorm", "pos": "learned", "bias": True, "mlp": "gelu_tanh", "tie_weights": True}
LLAMA_LIKE = {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu"}
NEOX_LIKE = {"norm": "layernorm", "bias": True, "residual": "parallel", "pos": {"name": "rope", "fraction": 0.25}}


def randomised(model: Any, std: float = 0.1, seed: int = 0) -> Any:
    """All weights random: biases and gains too, which start as zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * std)
    return model.eval()


def small(**knobs: Any) -> GPTConfig:
    return GPTConfig.from_dict({"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, **knobs})


def tokens(n: int = 24, seed: int = 0) -> Tensor:
    return torch.randint(V, (2, n), generator=torch.Generator().manual_seed(seed))


def exported(folder: Path, **knobs: Any) -> GPT:
    """A model of ours, and the folder that it was written to."""
    model = randomised(GPT(small(**knobs), V))
    folder.mkdir(exist_ok=True)
    write_model(folder, model)
    return model


def edited(folder: Path, **values: Any) -> None:
    """config.json with these keys changed, and without our own hint."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    config.pop("microgpt", None)
    path.write_text(json.dumps(config))


def same_weights(a: GPT, b: GPT) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("shape", [(2, 2, 32, None), (3, 4, 48, 40), (1, 1, 16, None), (4, 8, 64, 96)])
@pytest.mark.parametrize("tied", [True, False])
def test_gpt2_of_transformers_gives_the_same_logits(
    transformers: Any, tmp_path: Path, shape: tuple[int, ...], tied: bool, dtype: torch.dtype, bound: float
) -> None:
    n_layer, n_head, n_embd, n_inner = shape
    config = transformers.GPT2Config(
        n_layer=n_layer, n_head=n_head, n_embd=n_embd, n_inner=n_inner, n_positions=24, vocab_size=V,
        tie_word_embeddings=tied, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = randomised(transformers.GPT2LMHeadModel(config)).to(dtype)
    theirs.save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    assert ours.wte.weight.dtype is dtype
    x = tokens()
    with torch.no_grad():
        assert (ours(x)[0] - theirs(x).logits).abs().max() <= bound


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"num_key_value_heads": 2, "tie_word_embeddings": True},
        {"attention_bias": True},
        {"attention_bias": True, "mlp_bias": True, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    ],
)
def test_llama_of_transformers_gives_the_same_logits(transformers: Any, tmp_path: Path, knobs: dict[str, Any]) -> None:
    config = transformers.LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, vocab_size=V,
        max_position_embeddings=64, **knobs,
    )  # fmt: skip
    theirs = randomised(transformers.LlamaForCausalLM(config))
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()  # in several files
    x = tokens(64)
    with torch.no_grad():
        assert (GPT.from_pretrained(tmp_path)(x)[0] - theirs(x).logits).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("Qwen2", {}),
        ("Qwen2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
        ("Mistral", {"sliding_window": None}),
        ("Mistral", {"sliding_window": 64, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    ],
)
def test_relatives_of_llama_give_the_same_logits(
    transformers: Any, tmp_path: Path, name: str, knobs: dict[str, Any]
) -> None:
    values = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2,
              "intermediate_size": 48, "vocab_size": V, "max_position_embeddings": 64}  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**values | knobs)
    theirs = randomised(getattr(transformers, f"{name}ForCausalLM")(config))
    theirs.save_pretrained(tmp_path)
    ours, x = GPT.from_pretrained(tmp_path), tokens(64)
    with torch.no_grad():
        assert (ours(x)[0] - theirs(x).logits).abs().max() <= 1e-5
    (tmp_path / "again").mkdir()
    assert write_model(tmp_path / "again", ours).model_type == "llama"
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        assert (again(x).logits - theirs(x).logits).abs().max() <= 1e-5


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"use_parallel_residual": False, "tie_word_embeddings": True, "hidden_act": "gelu_new"},
        {"attention_bias": False, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5,
                                                      "partial_rotary_factor": 1.0}},
    ],
)  # fmt: skip
def test_gpt_neox_of_transformers_gives_the_same_logits_both_ways(
    transformers: Any, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    config = transformers.GPTNeoXConfig(
        hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=48, vocab_size=V,
        max_position_embeddings=64, **knobs,
    )  # fmt: skip
    theirs = randomised(transformers.GPTNeoXForCausalLM(config))
    theirs.save_pretrained(tmp_path)
    ours, x = GPT.from_pretrained(tmp_path), tokens(64)
    assert ours.config.residual == ("parallel" if knobs.get("use_parallel_residual", True) else "sequential")
    with torch.no_grad():
        assert (ours(x)[0] - theirs(x).logits).abs().max() <= 1e-5
    (tmp_path / "again").mkdir()
    assert write_model(tmp_path / "again", ours).model_type == "gpt_neox"
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        assert (again(x).logits - theirs(x).logits).abs().max() <= 1e-5


def test_pythias_files_of_before_transformers_5_are_read(transformers: Any, tmp_path: Path) -> None:
    """Their config.json has rotary_pct alone, and their weights the causal mask and the angles."""
    exported(tmp_path, **NEOX_LIKE)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    edited(tmp_path, rope_parameters=None, rotary_pct=0.25, rotary_emb_base=10000)
    weights, at = load_file(tmp_path / "model.safetensors"), "gpt_neox.layers.0.attention"
    assert "embed_out.weight" in weights
    weights |= {f"{at}.bias": torch.ones(24, 24).tril().bool().view(1, 1, 24, 24), f"{at}.rotary_emb.inv_freq":
                torch.ones(1), f"{at}.masked_bias": torch.tensor(-1e9)}  # fmt: skip
    save_file(weights, tmp_path / "model.safetensors")
    x = tokens()
    with torch.no_grad():
        assert (GPT.from_pretrained(tmp_path)(x)[0] - theirs(x).logits).abs().max() <= 1e-5
    save_file(weights | {f"{at}.rotary_emb.inv_freq": torch.ones(4)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"cannot express: .gpt_neox\.layers\.0\.attention\.rotary_emb\.inv_freq"):
        GPT.from_pretrained(tmp_path)


def test_qwen3_of_transformers_is_read_unless_its_norms_have_gains(transformers: Any, tmp_path: Path) -> None:
    config = transformers.Qwen3Config(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, intermediate_size=48,
        head_dim=8, vocab_size=V, max_position_embeddings=64, attention_bias=True,
    )  # fmt: skip
    theirs = randomised(transformers.Qwen3ForCausalLM(config))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"cannot express the weights layers\.0\.self_attn\.q_norm\.weight"):
        GPT.from_pretrained(tmp_path)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                p.fill_(1.0)
    theirs.save_pretrained(tmp_path)
    x = tokens(64)
    with torch.no_grad():
        assert (GPT.from_pretrained(tmp_path)(x)[0] - theirs(x).logits).abs().max() <= 1e-5


def test_gpt2s_config_names_its_context_twice(tmp_path: Path) -> None:
    exported(tmp_path, **GPT2_LIKE)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["n_ctx"] == config["n_positions"] == 24
    edited(tmp_path)  # an export of an earlier version has no n_ctx
    assert read_model(tmp_path).config.block_size == 24


def test_greedy_tokens_equal_those_of_transformers_without_it_installed(transformers: Any, tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        n_layer=2, n_head=4, n_embd=32, n_positions=128, vocab_size=V, bos_token_id=None, eos_token_id=None
    )
    theirs = randomised(transformers.GPT2LMHeadModel(config), std=0.3)
    theirs.save_pretrained(tmp_path)
    prompt = tokens(8)
    mask = torch.ones_like(prompt)
    expected = theirs.generate(prompt, attention_mask=mask, max_new_tokens=100, do_sample=False, pad_token_id=0)
    program = (
        "import sys, json\n"
        "for name in ('transformers', 'tokenizers', 'huggingface_hub'): sys.modules[name] = None\n"
        "import torch; from microgpt import GPT\n"
        "model = GPT.from_pretrained(sys.argv[1])\n"
        "prompt = torch.tensor(json.loads(sys.argv[2]))\n"
        "print(model.generate(prompt, 100, do_sample=False).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), json.dumps(prompt.tolist())],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == expected.tolist()


CHOICES = {
    "norm": sorted(NormConfig.members),
    "norm_place": ["pre", "pre", "post", "sandwich"],
    "residual": ["sequential", "sequential", "parallel"],
    "pos": [
        "learned",
        "sinusoidal",
        "none",
        "rope",
        "alibi",
        "t5",
        {"name": "rope", "theta": 5e5},
        {"name": "rope", "fraction": 0.25},
    ],
    "mlp": sorted(MLPConfig.members),
    "bias": [False, True],
    "tie_weights": [False, True],
    "norm_affine": [True, False],
    "n_kv_head": [None, 1, 2],
    "mlp_hidden": [None, 24],
    "norm_eps": [1e-5, 1e-3],
    "qk_norm": [False, True],
    "logit_softcap": [0.0, 15.0],
    "ngram_embed": [0, 32],
    "prev_embed": [0, 2],
    "value_embed": [False, True],
    "resid_scale": [False, True],
}
UNGATED, GATED = ["gelu", "gelu_tanh", "relu", "relu2"], ["swiglu", "geglu"]
"What stock classes have; others are refused."
FREE = ("bias", "tie_weights", "norm_affine", "mlp_hidden", "norm_eps")


def choices(*names: Any, **fixed: Any) -> Any:
    drawn: dict[str, Any] = {name: st.sampled_from(CHOICES[name]) for name in names}  # type: ignore[call-overload]
    return st.fixed_dictionaries(drawn | {name: st.sampled_from(values) for name, values in fixed.items()})


EXPRESSIBLE = st.one_of(
    choices(*FREE, norm=["layernorm"], pos=["learned", "sinusoidal", "none"], mlp=UNGATED),
    choices(*FREE, "n_kv_head", norm=["rmsnorm"], pos=["rope", {"name": "rope", "theta": 5e5}], mlp=UNGATED + GATED),
    choices(*FREE, "residual", norm=["layernorm"], mlp=UNGATED,
            pos=["rope", {"name": "rope", "fraction": 0.25}, {"name": "rope", "theta": 5e5, "fraction": 0.5}]),
    choices("tie_weights", "norm_affine", "mlp_hidden", "norm_eps", "n_kv_head", norm=["rmsnorm"], pos=["rope"],
            qk_norm=[True], mlp=["relu2", *GATED]),
)  # fmt: skip
GENTLE = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@GENTLE
@given(knobs=EXPRESSIBLE, seed=st.integers(0, 99))
def test_every_expressible_model_comes_back_with_identical_weights(
    tmp_path: Path, knobs: dict[str, Any], seed: int
) -> None:
    model = randomised(GPT(small(**knobs), V), seed=seed)
    write_model(tmp_path, model)
    back = read_model(tmp_path)
    assert back.config == model.config
    assert same_weights(back, model)


@GENTLE
@given(knobs=EXPRESSIBLE, seed=st.integers(0, 99))
def test_transformers_opens_every_expressible_model_with_equal_logits(
    transformers: Any, tmp_path: Path, knobs: dict[str, Any], seed: int
) -> None:
    model = randomised(GPT(small(**knobs), V), seed=seed)
    family = write_model(tmp_path, model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == family.architecture
    x = tokens(seed=seed)
    with torch.no_grad():
        assert (model(x)[0] - theirs(x).logits).abs().max() <= 1e-5


@settings(max_examples=200, deadline=None)
@given(choices(*CHOICES).filter(lambda knobs: (knobs["residual"], knobs["norm_place"]) != ("parallel", "post")))
def test_what_no_stock_class_expresses_is_refused_by_name(knobs: dict[str, Any]) -> None:
    config = small(**knobs)
    norm, mlp = config.norm.name, config.mlp.name
    is_gpt2 = norm == "layernorm" and config.pos.name in ("learned", "sinusoidal", "none")
    is_gpt2 = is_gpt2 and mlp in UNGATED and config.kv_heads == config.n_head
    is_neox = norm == "layernorm" and config.pos.name == "rope" and mlp in UNGATED and config.kv_heads == config.n_head
    is_whole = getattr(config.pos, "fraction", 1) == 1
    is_llama = norm == "rmsnorm" and config.pos.name == "rope" and is_whole and mlp in UNGATED + GATED
    is_qwen3 = is_llama and config.qk_norm and not config.bias and mlp in ("relu2", *GATED)
    extras = ["qk_norm"] if config.qk_norm and not is_qwen3 else []
    extras += [k for k in ("logit_softcap", "ngram_embed", "prev_embed", "value_embed", "resid_scale") if knobs[k]]
    extras += ["norm_place"] if config.norm_place != "pre" else []
    extras += ["residual"] if config.residual != "sequential" and not is_neox else []
    if (is_gpt2 or is_llama or is_neox) and not extras:
        expected = "gpt2" if is_gpt2 else "gpt_neox" if is_neox else "qwen3" if is_qwen3 else "llama"
        assert family_for(config).model_type == expected
        return
    with pytest.raises(UsageError) as refusal:
        family_for(config)
    text = str(refusal.value)
    assert all(f"{name}=" in text for name in extras)
    if not (is_gpt2 or is_llama or is_neox):
        parts = [f"norm={norm}", f"pos={config.pos.name}", f"mlp={mlp}", "n_kv_head="]
        assert any(part in text for part in parts if is_whole) or "pos.fraction=0.25" in text
    if norm == "layernorm" and config.kv_heads != config.n_head:
        assert f"n_kv_head={config.kv_heads}" in text


def test_a_model_that_was_changed_after_export_is_read_as_it_is(tmp_path: Path) -> None:
    model = exported(tmp_path, norm="layernorm", pos="none", mlp="gelu")
    weights = load_file(tmp_path / "model.safetensors")
    weights["transformer.h.0.attn.c_attn.bias"] += 1.0  # which our own config has no place for
    save_file(weights, tmp_path / "model.safetensors")
    back = read_model(tmp_path)
    assert back.config.bias
    assert back.config.pos.name == "learned"
    assert torch.equal(back.state_dict()["blocks.0.attn.qkv.bias"], torch.ones(96))
    assert not same_weights(back, model)


def test_pretrained_weights_may_get_a_shorter_context_and_dropout(tmp_path: Path) -> None:
    model = exported(tmp_path, **GPT2_LIKE)
    cut = GPT.from_pretrained(tmp_path, block_size=8, dropout=0.1)
    assert (cut.config.block_size, cut.config.dropout) == (8, 0.1)
    assert cut.config.pretrained == str(tmp_path)
    x = tokens(8)
    assert torch.equal(cut(x)[0], model(x)[0])
    with pytest.raises(UsageError, match="block_size 25"):
        GPT.from_pretrained(tmp_path, block_size=25)


def test_our_own_model_folder_is_pretrained_too(tmp_path: Path) -> None:
    model = randomised(GPT(small(), V))
    save_model(tmp_path / "model", model, {})
    assert same_weights(GPT.from_pretrained(tmp_path), model)
    assert same_weights(GPT.from_pretrained(tmp_path / "model"), model)


@pytest.mark.parametrize(
    ("family", "values", "named"),
    [
        (GPT2_LIKE, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        (GPT2_LIKE, {"scale_attn_weights": False}, "scale_attn_weights=False"),
        (GPT2_LIKE, {"activation_function": "silu"}, "activation_function=silu"),
        (GPT2_LIKE, {"add_cross_attention": True}, "add_cross_attention"),
        (GPT2_LIKE, {"quantization_config": {}}, "quantization_config"),
        (GPT2_LIKE, {"model_type": "gpt_bigcode"}, "gpt_bigcode"),
        (NEOX_LIKE, {"hidden_act": "silu"}, "hidden_act=silu"),
        (NEOX_LIKE, {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type=yarn"),
        (NEOX_LIKE, {"use_parallel_residual": "yes"}, "use_parallel_residual='yes' is no bool"),
        (NEOX_LIKE, {"rope_parameters": None, "rotary_pct": 1.5}, "fraction"),
        (NEOX_LIKE, {"rope_parameters": None, "rotary_pct": 0.2}, "fraction 0.2 of a head width of 8 is 1 channels"),
        (NEOX_LIKE, {"rope_parameters": {"partial_rotary_factor": "x"}}, "partial_rotary_factor='x' is no float"),
        (NEOX_LIKE, {"num_attention_heads": 3}, "n_embd"),
        (LLAMA_LIKE, {"model_type": "qwen3", "use_sliding_window": True}, "use_sliding_window=True"),
        (LLAMA_LIKE, {"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window=True"),
        (LLAMA_LIKE, {"model_type": "mistral", "sliding_window": 8}, "sliding_window=8"),
        (GPT2_LIKE, {"n_embd": "32"}, "n_embd"),
        (GPT2_LIKE, {"n_head": 5}, "n_head"),
        (GPT2_LIKE, {"n_embd": 64}, "shape"),
        (GPT2_LIKE, {"n_layer": 10**9}, "do not fit"),
        (GPT2_LIKE, {"n_layer": 1}, "cannot express: 'transformer.h.1"),
        (GPT2_LIKE, {"n_positions": 10**12}, "too much"),
        (GPT2_LIKE, {"vocab_size": 10**12}, "do not fit"),
        (GPT2_LIKE, {"vocab_size": "65"}, "vocab_size"),
        (LLAMA_LIKE, {"hidden_act": "tanh"}, "hidden_act=tanh"),
        (LLAMA_LIKE, {"head_dim": 16}, "head_dim=16"),
        (LLAMA_LIKE, {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type=linear"),
        (LLAMA_LIKE, {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "rope_type=llama3"),
        (LLAMA_LIKE, {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ],
)
def test_what_our_parts_cannot_express_is_refused_by_name(
    tmp_path: Path, family: dict[str, Any], values: dict[str, Any], named: str
) -> None:
    exported(tmp_path, **family)
    edited(tmp_path, **values)
    with pytest.raises(CheckpointError) as refusal:
        read_model(tmp_path)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    exported(tmp_path, **GPT2_LIKE)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pickled weights, which can run code \(pytorch_model.bin\)"):
        read_model(tmp_path)


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", "..", ""])
def test_an_index_cannot_name_a_file_outside_the_folder(tmp_path: Path, file: Any) -> None:
    folder = tmp_path / "model"
    exported(folder, **GPT2_LIKE)
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"wte.weight": file}}))
    with pytest.raises(CheckpointError, match="leaves the folder"):
        read_model(folder)


def test_only_the_extra_hf_asks_for_packages_of_hugging_face_and_nothing_loads_them() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    theirs = {"transformers", "tokenizers", "huggingface_hub"}

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[<>=\[ ]", requirement)[0] for requirement in requirements}

    assert not theirs & names(project["dependencies"])
    extras = {extra for extra, needs in project["optional-dependencies"].items() if theirs & names(needs)}
    assert extras == {"hf"}
    program = (
        f"import sys; [sys.modules.__setitem__(name, None) for name in {theirs}]\n"
        "from importlib import import_module\n"
        "for part in ('data.tokenizer', 'model.files.hf', 'model.lora', 'engine.exchange.export',\n"
        "             'engine.exchange.nanogpt', 'engine.commands.export', 'engine.commands.import_'):\n"
        "    import_module('microgpt.' + part)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        GPT.from_pretrained(tmp_path / "nothing")


def test_the_hub_out_of_reach_is_one_error_with_the_way_by_hand(
    huggingface_hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MachineError) as error:
        GPT.from_pretrained("gpt2")
    assert "Hugging Face Hub" in str(error.value)
    assert "by hand" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_of_the_hub_needs_huggingface_hub_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MachineError, match=r"pip install 'microgpt\[hf\]', or download .* by hand"):
        GPT.from_pretrained("gpt2")


def test_the_hub_is_asked_for_safetensors_and_json_alone(
    huggingface_hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exported(tmp_path, **GPT2_LIKE)
    asked = {}

    def download(name: str, allow_patterns: Any) -> str:
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert same_weights(GPT.from_pretrained("someone/gpt"), model)
    assert all(Path(pattern).suffix in (".json", ".safetensors") for pattern in asked["someone/gpt"])
