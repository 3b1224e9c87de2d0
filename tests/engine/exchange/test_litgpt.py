"""litgpt's folders: logits equal to its forward pass, for every block it can make of our parts; the rest refused."""

import importlib
import importlib.util
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from harm import Harm
from microgpt import load
from microgpt.data.tokenizer import BPETokenizer
from microgpt.engine.commands.import_ import main
from microgpt.engine.exchange.importers import Importer
from microgpt.errors import MicrogptError
from microgpt.foreign import MODELS, recognised

SIZES = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, "vocab_size": 61, "padded_vocab_size": 64}
DEFAULTS: dict[str, Any] = {
    "name": "", "hf_config": {}, "padding_multiple": 512, "norm_class_name": "LayerNorm", "norm_eps": 1e-5,
    "norm_qk": False, "norm_qk_type": "default", "post_attention_norm": False, "post_mlp_norm": False,
    "parallel_residual": True, "shared_attention_norm": False, "head_size": 8, "n_query_groups": 4,
    "attn_bias": False, "attention_scores_scalar": None, "sliding_window_size": None, "sliding_window_indices": None,
    "attention_logit_softcapping": None, "rope_base": 10000, "rotary_percentage": 0.25, "rope_condense_ratio": 1,
    "rope_adjustments": None, "rope_interleave": False, "intermediate_size": 128, "moe_intermediate_size": None,
    "bias": True, "mlp_class_name": "GptNeoxMLP", "gelu_approximate": "none", "n_expert": 0, "n_shared_expert": None,
    "n_expert_groups": None, "n_topk_groups": None, "n_topk_scores_per_group": None, "n_expert_per_token": 0,
    "first_k_dense_replace": None, "routed_scaling_factor": 1.0, "norm_topk_prob": False, "scale_embeddings": False,
    "lm_head_bias": False, "final_logit_softcapping": None, "norm_1": True, "norm_2": True, "latent_attention": None,
    "rope_local_base_freq": None, "rope_indices": None,
}  # fmt: skip
"""What litgpt 0.5.13 writes into a model_config.yaml."""
LLAMA = {"norm_class_name": "RMSNorm", "parallel_residual": False, "bias": False, "rotary_percentage": 1.0,
         "mlp_class_name": "LLaMAMLP", "intermediate_size": 48}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "pythia": {"name": "pythia-tiny"},
    "pythia tanh": {"gelu_approximate": "tanh", "rotary_percentage": 0.5, "rope_base": 500000, "norm_eps": 1e-3},
    "stablelm": {"parallel_residual": False, "bias": False, "mlp_class_name": "LLaMAMLP", "intermediate_size": 40},
    "falcon": {"shared_attention_norm": True, "n_query_groups": 1, "bias": False, "rotary_percentage": 1.0},
    "llama": LLAMA,
    "llama grouped": {**LLAMA, "n_query_groups": 2, "norm_eps": 1e-6},
    "qwen2": {**LLAMA, "attn_bias": True, "n_query_groups": 2},
    "olmo": {**LLAMA, "name": "OLMo-1B-hf", "norm_class_name": "LayerNorm"},
    "sandwich": {**LLAMA, "post_attention_norm": True, "post_mlp_norm": True, "mlp_class_name": "GemmaMLP",
                 "final_logit_softcapping": 3.0, "sliding_window_size": 24},
    "parallel sandwich": {"post_attention_norm": True, "post_mlp_norm": True, "n_query_groups": 2},
}  # fmt: skip


def values_of(case: str) -> dict[str, Any]:
    return {**DEFAULTS, **SIZES, **CASES[case]}


def lit_weights(c: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Random weights under litgpt's names."""
    C, V, H, G, wide = c["n_embd"], c["padded_vocab_size"], c["n_head"], c["n_query_groups"], c["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, C), "lm_head.weight": (V, C)}
    norms = ["transformer.ln_f"]
    for i in range(c["n_layer"]):
        at = f"transformer.h.{i}"
        parts = ["fc"] if c["mlp_class_name"] == "GptNeoxMLP" else ["fc_1", "fc_2"]
        matrices = {"attn.qkv": ((H + 2 * G) * C // H, C), "attn.proj": (C, C), "mlp.proj": (C, wide),
                    **{f"mlp.{name}": (wide, C) for name in parts}}  # fmt: skip
        for name, shape in matrices.items():
            shapes[f"{at}.{name}.weight"] = shape
            if c["bias"] or (c["attn_bias"] and name == "attn.qkv"):
                shapes[f"{at}.{name}.bias"] = shape[:1]
        norms.append(f"{at}.norm_1")
        norms += [] if c["shared_attention_norm"] else [f"{at}.norm_2"]
        norms += [f"{at}.post_{part}_norm" for part in ("attention", "mlp") if c[f"post_{part}_norm"]]
    if not ("OLMo" in c["name"] and c["norm_class_name"] == "LayerNorm"):
        shapes |= {f"{name}.weight": (C,) for name in norms}
        shapes |= {f"{name}.bias": (C,) for name in norms if c["norm_class_name"] == "LayerNorm"}
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=g) * 0.3 + ("norm" in name) for name, shape in shapes.items()}


def lit_logits(c: dict[str, Any], w: dict[str, Tensor], x: Tensor) -> Tensor:
    """litgpt's forward pass, written out."""
    C, H, G, D = c["n_embd"], c["n_head"], c["n_query_groups"], c["n_embd"] // c["n_head"]
    T, R = x.shape[1], int(c["rotary_percentage"] * D)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        if c["norm_class_name"] == "RMSNorm":
            return w[f"{name}.weight"] * x / (x.square().mean(-1, keepdim=True) + c["norm_eps"]).sqrt()
        return F.layer_norm(x, (C,), w.get(f"{name}.weight"), w.get(f"{name}.bias"), c["norm_eps"])

    def rotated(x: Tensor) -> Tensor:  # (B, heads, T, D)
        angle = torch.arange(T)[:, None] / c["rope_base"] ** (torch.arange(0, R, 2) / R)
        a, b, rest = x.split((R // 2, R // 2, D - R), dim=-1)
        return torch.cat((a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin(), rest), -1)

    def attention(x: Tensor, at: str) -> Tensor:
        q, k, v = linear(x, f"{at}.qkv").split((H * D, G * D, G * D), dim=-1)
        q, k, v = (y.view(*x.shape[:2], -1, D).transpose(1, 2) for y in (q, k, v))
        q, k = rotated(q), rotated(k)
        k, v = (y.repeat_interleave(H // G, dim=1) for y in (k, v))
        scores = (q @ k.mT / math.sqrt(D)).masked_fill(torch.ones(T, T).triu(1).bool(), -math.inf)
        return linear((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape), f"{at}.proj")

    def mlp(x: Tensor, at: str) -> Tensor:
        if c["mlp_class_name"] == "GptNeoxMLP":
            return linear(F.gelu(linear(x, f"{at}.fc"), approximate=c["gelu_approximate"]), f"{at}.proj")
        gate = F.silu if c["mlp_class_name"] == "LLaMAMLP" else F.gelu
        return linear(gate(linear(x, f"{at}.fc_1")) * linear(x, f"{at}.fc_2"), f"{at}.proj")

    h = w["transformer.wte.weight"][x]
    for i in range(c["n_layer"]):
        at = f"transformer.h.{i}"
        entered = norm(h, f"{at}.norm_1")
        y = attention(entered, f"{at}.attn")
        y = norm(y, f"{at}.post_attention_norm") if c["post_attention_norm"] else y
        read = entered if c["shared_attention_norm"] else norm(h if c["parallel_residual"] else h + y, f"{at}.norm_2")
        z = mlp(read, f"{at}.mlp")
        h = h + y + (norm(z, f"{at}.post_mlp_norm") if c["post_mlp_norm"] else z)
    logits = linear(norm(h, "transformer.ln_f"), "lm_head")
    cap = c["final_logit_softcapping"]
    return cap * torch.tanh(logits / cap) if cap else logits


def write(folder: Path, c: dict[str, Any], content: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "lit_model.pth")
    (folder / "model_config.yaml").write_text(yaml.dump(c))
    return folder


def read(folder: Path) -> Any:
    """The imported model and tokenizer."""
    importer: Any = Importer.choose("litgpt")
    return importer.read(folder)


def tokens() -> Tensor:
    return torch.randint(61, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("case", CASES)
def test_a_folder_of_litgpt_gives_its_own_logits(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    c = values_of(case)
    w, x = lit_weights(c), tokens()
    folder = write(tmp_path / "lit", c, w)
    assert main(["litgpt", str(folder), str(tmp_path / "out")]) == 0
    run = load(tmp_path / "out")
    expected = lit_logits(c, w, x)
    assert (run.model(x)[0] - expected).abs().max() <= 1e-5 * max(1, float(expected.abs().max()))
    assert run.tokenizer.encode("3 17 63") == [3, 17, 63]  # a folder without a tokenizer has numbers
    tied = w | {"lm_head.weight": w["transformer.wte.weight"].clone()}
    wrapped = {"model": {f"_forward_module._orig_mod.{name}": tensor for name, tensor in tied.items()}, "iter_num": 3}
    model, _ = read(write(folder, c, wrapped))
    assert model.head is None
    expected = lit_logits(c, tied, x)
    assert (model(x)[0] - expected).abs().max() <= 1e-5 * max(1, float(expected.abs().max()))
    assert recognised(folder, MODELS)[1].name == "litgpt"  # type: ignore[index]


@pytest.mark.parametrize("case", CASES)
def test_its_own_code_writes_what_is_read_with_the_same_logits(tmp_path: Path, case: str) -> None:
    """Its own class reads the weights strictly, so that none is missing or left over."""
    if importlib.util.find_spec("litgpt") is None:
        pytest.skip("the optional package litgpt is not installed: pip install --no-deps litgpt")
    lit, utils, x = importlib.import_module("litgpt.model"), importlib.import_module("litgpt.utils"), tokens()
    theirs = lit.GPT(lit.Config(**values_of(case))).eval()
    theirs.load_state_dict(lit_weights(values_of(case)), strict=True)
    with utils.incremental_save(tmp_path / "lit_model.pth") as saver:
        saver.save(theirs.state_dict())
    utils.save_config(theirs.config, tmp_path)
    model, _ = read(tmp_path)
    with torch.no_grad():
        expected = theirs(x)
        difference = float((model(x)[0] - expected).abs().max() / max(1, float(expected.abs().max())))
    print(f"litgpt {case}: {difference:.2g}")
    assert difference <= 1e-5


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_older_files_order_queries_keys_and_values_by_groups(tmp_path: Path, groups: int) -> None:
    c = {**values_of("pythia"), "n_query_groups": groups}
    w, x = lit_weights(c), tokens()
    old = dict(w)
    for name in [name for name in w if ".attn.qkv." in name]:
        q, k, v = old.pop(name).split((32, 8 * groups, 8 * groups))
        each = zip(q.chunk(groups), k.chunk(groups), v.chunk(groups), strict=True)
        old[name.replace("qkv", "attn")] = torch.cat([torch.cat(part) for part in each])
    model, _ = read(write(tmp_path / "lit", c, old))
    assert (model(x)[0] - lit_logits(c, w, x)).abs().max() <= 1e-5


def test_its_tokenizer_and_end_token_come_with_it(tmp_path: Path) -> None:
    learnt = BPETokenizer.from_texts(["the cat sat on the mat " * 20], 280)
    c = {**values_of("llama"), "vocab_size": 280, "padded_vocab_size": 320}
    folder = write(tmp_path / "lit", c, lit_weights(c))
    (folder / "tokenizer.json").write_text(learnt.tokenizer_json())
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert main(["litgpt", str(folder), str(tmp_path / "out")]) == 0
    run = load(tmp_path / "out")
    assert run.tokenizer.encode("the cat") == learnt.encode("the cat")
    assert run.tokenizer.end_tokens() == (7, 9)
    assert (run.tokenizer.vocab_size, run.model.vocab_size) == (320, 320)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_expert": 8, "n_expert_per_token": 2}, "n_expert=8"),
        ({"mlp_class_name": "LLaMAMoE"}, "mlp_class_name='LLaMAMoE'"),
        ({"mlp_class_name": "GemmaMLP", "gelu_approximate": "tanh"}, "mlp_class_name='GemmaMLP' with gelu_approximate"),
        ({"sliding_window_size": 8}, "sliding_window_size=8"),
        ({"norm_qk": True}, "norm_qk=True"),
        ({"norm_class_name": "ScaleNorm"}, "norm_class_name='ScaleNorm'"),
        ({"norm_class_name": "RMSNorm", "name": "Gemma-2b"}, "name='Gemma-2b'"),
        ({"norm_class_name": "RMSNorm", "hf_config": {"name": "gemma", "org": "Gemma"}, "scale_embeddings": True},
         "scale_embeddings=True"),
        ({"norm_1": False}, "norm_1=False"),
        ({"post_mlp_norm": True}, "post_attention_norm=False with post_mlp_norm=True"),
        ({"rope_adjustments": {"factor": 8.0}}, "rope_adjustments={'factor': 8.0}"),
        ({"rope_condense_ratio": 4}, "rope_condense_ratio=4"),
        ({"rope_interleave": True}, "rope_interleave=True"),
        ({"rope_local_base_freq": 1e4}, "rope_local_base_freq"),
        ({"attention_logit_softcapping": 50.0}, "attention_logit_softcapping=50.0"),
        ({"attention_scores_scalar": 4}, "attention_scores_scalar=4"),
        ({"latent_attention": {"q_lora_rank": 8}}, "latent_attention="),
        ({"lm_head_bias": True}, "lm_head_bias=True"),
        ({"head_size": 16}, "head_size=16"),
        ({"rotary_percentage": 0.1}, "fraction 0.1 of a head width of 8 is 0 channels"),
        ({"rotary_percentage": 0}, "pos.fraction: 0.0 is out of range"),
        ({"new_in_a_later_version": 3}, "new_in_a_later_version=3"),
        ({"a\x1b[2J\n": "\x1b[2J"}, "our parts cannot express a"),
        ({"n_layer": 10**9}, "layers in"),
        ({"n_layer": 10**30}, "64 bits"),
        ({"n_layer": "2"}, "n_layer='2' is no int"),
        ({"n_layer": 0}, "n_layer"),
        ({"n_embd": 2**40}, "head_size=8"),
        ({"n_embd": 2**40, "head_size": None}, "a width of 1099511627776 are too much"),
        ({"n_head": 0, "head_size": None}, "n_head"),
        ({"n_query_groups": 3}, "n_kv_head 3 does not divide n_head 4"),
        ({"n_query_groups": -1}, "n_kv_head"),
        ({"padded_vocab_size": 10**12}, "has the shape"),
        ({"padded_vocab_size": -3}, "a vocabulary of -3"),
        ({"block_size": 10**12}, "a context of 1000000000000 and"),
        ({"rope_base": "x"}, "rope_base='x' is no float"),
        ({"rope_base": 10**400}, "litgpt"),
        ({"norm_eps": float("nan")}, "norm_eps"),
        ({"intermediate_size": 10**15}, "has the shape"),
        ({"name": "", "hf_config": [1]}, "hf_config=[1] is no dict"),
        ({"bias": False}, "entries that are not litgpt's and would be lost: 'blocks.0.attn.qkv.bias'"),
        ({"shared_attention_norm": None, "parallel_residual": "no"}, "parallel_residual='no' is no bool"),
    ],
)  # fmt: skip
def test_what_would_be_another_model_is_refused_before_a_folder_appears(
    tmp_path: Path, changed: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    c = values_of("pythia")
    folder = write(tmp_path / "lit", c | changed, lit_weights(c))
    assert main(["litgpt", str(folder), str(tmp_path / "out")]) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    assert said in error
    assert not (tmp_path / "out").exists()


def test_damaged_and_malicious_folders_are_one_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    c = values_of("llama")
    good, name = lit_weights(c), "transformer.h.0.norm_1.weight"
    without = {key: tensor for key, tensor in good.items() if key != name}
    bad: dict[str, Any] = {
        "code": {**good, name: Harm()},
        "code beside the model": {"model": good, "optimizer": Harm()},
        "a list": [1, 2],
        "no mapping": {"model": [1]},
        "other entries": {"model": good, "lora": {}},
        "no tensor": {**good, name: "x"},
        "sparse": {**good, name: torch.ones(32).to_sparse()},
        "strides of zero": {**good, name: torch.zeros(1).expand(1 << 40)},
        "a table of strides of zero": {**good, "transformer.wte.weight": torch.zeros(1, 1).expand(64, 1 << 36)},
        "another shape": {**good, name: torch.zeros(31)},
        "a scalar": {**good, name: torch.zeros(())},
        "integers": {**good, name: torch.ones(32, dtype=torch.int64)},
        "one more": {**good, "transformer.h.7.norm_1.weight": torch.zeros(32)},
        "a bias more": {**good, "lm_head.bias": torch.zeros(64)},
        "one less": without,
        "half a gate": {key: tensor for key, tensor in good.items() if key != "transformer.h.1.mlp.fc_2.weight"},
        "the same twice": {**good, f"_orig_mod.{name}": good[name]},
        "LoRA": {**good, "transformer.h.0.attn.qkv.lora_A": torch.zeros(4, 32)},
        "no head": {key: tensor for key, tensor in good.items() if key != "lm_head.weight"},
        "a name that drives a terminal": {**good, "\x1b[2J\n": torch.zeros(3)},
        "old attention of no size": {**good, "transformer.h.0.attn.attn.weight": torch.zeros(0)},
    }
    for what, content in bad.items():
        folder = write(tmp_path / "lit", c, content)
        assert main(["litgpt", str(folder), str(tmp_path / "out")]) == 4, what
        error = capsys.readouterr().err
        assert error.count("\n") == 1, what
        assert error[:-1].isprintable(), what
        assert not (tmp_path / "out").exists(), what
    assert not Path("harmed").exists()
    write(tmp_path / "lit", c, good)
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    texts = {"bomb": bomb, "nothing": "", "a list": "[1]", "python": "!!python/object/apply:os.mkdir [harmed]",
             "deep": "a: " + "[" * 900, "huge": "a: " + "x" * (1 << 19), "binary": "\x00\x01", "unclosed": "a: [1",
             "keys": "{[1]: 2}", "number": "1: 2\n2: {}"}  # fmt: skip
    for what, text in texts.items():
        (tmp_path / "lit" / "model_config.yaml").write_text(text)
        assert main(["litgpt", str(tmp_path / "lit"), str(tmp_path / "out")]) == 4, what
        assert capsys.readouterr().err.count("\n") == 1, what
    for gone in ("model_config.yaml", "lit_model.pth"):
        write(tmp_path / "lit", c, good)
        (tmp_path / "lit" / gone).unlink()
        assert main(["litgpt", str(tmp_path / "lit"), str(tmp_path / "out")]) == 4
        assert f"no such file: {tmp_path}/lit/{gone}" in capsys.readouterr().err
    write(tmp_path / "lit", c, good)
    assert main(["litgpt", str(tmp_path / "lit" / "lit_model.pth"), str(tmp_path / "out")]) == 4
    assert "name the folder that holds lit_model.pth" in capsys.readouterr().err
    assert not Path("harmed").exists()


def test_no_flipped_bit_of_its_files_is_a_crash(tmp_path: Path) -> None:
    c, rng = values_of("llama"), random.Random(0)
    folder, importer = write(tmp_path / "lit", c, lit_weights(c)), Importer.choose("litgpt")
    for file in ("lit_model.pth", "model_config.yaml"):
        data = (folder / file).read_bytes()
        for round in range(100):
            bad = bytearray(data)
            if round % 4 == 0:
                del bad[rng.randrange(len(bad)) :]
            else:
                bad[rng.randrange(min(len(bad), 3000))] ^= 1 << rng.randrange(8)
            (folder / file).write_bytes(bad)
            assert "\n" not in outcome(importer, folder)
        (folder / file).write_bytes(data)


def outcome(importer: Any, folder: Path) -> str:
    """What importing a folder comes to: "read", or the error's one line."""
    try:
        importer.read(folder)
    except MicrogptError as error:
        return str(error)
    return "read"
