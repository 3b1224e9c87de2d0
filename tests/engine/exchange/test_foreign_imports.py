"""Folders of transformers with pickled weights, GPT-2's tokenizer files, minGPT and PEFT adapters: equal or refused."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from harm import Harm
from microgpt import load
from microgpt.data.tokenizer import BPETokenizer
from microgpt.engine.commands.import_ import main
from microgpt.engine.exchange.importers import Importer
from microgpt.engine.exchange.own_tokenizer import find_tokenizer
from microgpt.errors import CheckpointError, MicrogptError
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.hf import write_model

TEXT = "the cat sat on the mat, and the dog looked at the cat.\n" * 20
PARTS: dict[str, dict[str, Any]] = {
    "gpt2": {"norm": "layernorm", "pos": "learned", "mlp": "gelu_tanh", "bias": True, "tie_weights": True},
    "llama": {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "n_kv_head": 2},
}


def base(folder: Path, family: str = "llama") -> GPT:
    """A folder of transformers with random weights, and its model."""
    tokens = BPETokenizer.from_texts([TEXT], 280)
    torch.manual_seed(0)
    config = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 24, **PARTS[family]}
    model = GPT(GPTConfig.from_dict(config), tokens.vocab_size).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    folder.mkdir()
    write_model(folder, model)
    (folder / "tokenizer.json").write_text(tokens.tokenizer_json())
    return model


def pickled(folder: Path) -> None:
    """Replace the folder's safetensors by a pytorch_model.bin."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def inputs(model: GPT) -> torch.Tensor:
    return torch.randint(model.vocab_size, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", PARTS)
def test_pickled_weights_come_in_by_name(tmp_path: Path, family: str) -> None:
    model = base(tmp_path / "theirs", family)
    pickled(tmp_path / "theirs")
    assert main(["hf", str(tmp_path / "theirs"), str(tmp_path / "out")]) == 0
    again = load(tmp_path / "out")
    assert torch.equal(again.model(inputs(model))[0], model(inputs(model))[0])


def test_pickles_that_would_run_code_or_claim_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    base(tmp_path / "theirs")
    pickled(tmp_path / "theirs")
    file = tmp_path / "theirs" / "pytorch_model.bin"
    good = torch.load(file, weights_only=True)
    name = "model.norm.weight"
    bad: dict[str, Any] = {
        "code": {**good, name: Harm()},
        "a list": [1, 2],
        "no tensor": {**good, name: "x"},
        "sparse": {**good, name: torch.ones(32).to_sparse()},
        "strides of zero": {**good, name: torch.zeros(1).expand(1 << 40)},
        "another shape": {**good, name: torch.zeros(31)},
        "one more": {**good, "model.extra": torch.zeros(1)},
        "one less": {key: value for key, value in good.items() if key != name},
        "integers": {**good, name: torch.ones(32, dtype=torch.int64)},
    }
    for what, content in bad.items():
        torch.save(content, file)
        assert main(["hf", str(tmp_path / "theirs"), str(tmp_path / "out")]) == 4, what
        assert capsys.readouterr().err.count("\n") == 1, what
        assert not (tmp_path / "out").exists(), what
    assert not Path("harmed").exists()


def test_gpt2s_two_tokenizer_files_give_the_tokens_of_the_one(tmp_path: Path) -> None:
    base(tmp_path / "theirs")
    one = find_tokenizer(tmp_path / "theirs", 281)
    model = json.loads((tmp_path / "theirs" / "tokenizer.json").read_text())["model"]
    (tmp_path / "theirs" / "tokenizer.json").unlink()
    (tmp_path / "theirs" / "vocab.json").write_text(json.dumps({**model["vocab"], "<|endoftext|>": 280}))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (tmp_path / "theirs" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    two = find_tokenizer(tmp_path / "theirs", 281)
    for text in (TEXT, "naïve 日本\n\n  x"):
        assert two.encode(text) == one.encode(text)
    assert two.end_token() == (280, "<|endoftext|>")
    assert two.encode("a<|endoftext|>b")[1] == 280
    for broken in ("a b c\n", "a\n"):
        (tmp_path / "theirs" / "merges.txt").write_text(broken)
        with pytest.raises(CheckpointError, match="no vocabulary with merges"):
            find_tokenizer(tmp_path / "theirs", 281)
    (tmp_path / "theirs" / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        find_tokenizer(tmp_path / "theirs", 281)


V, L, H, C, T = 20, 2, 2, 16, 12


def mingpt_weights() -> dict[str, torch.Tensor]:
    """Random weights under minGPT's names."""
    g = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, C), "transformer.wpe.weight": (T, C)}
    for i in range(L):
        for name, shape in (("attn.c_attn", (3 * C, C)), ("attn.c_proj", (C, C)), ("mlp.c_fc", (4 * C, C)),
                            ("mlp.c_proj", (C, 4 * C)), ("ln_1", (C,)), ("ln_2", (C,))):  # fmt: skip
            shapes[f"transformer.h.{i}.{name}.weight"] = shape
            shapes[f"transformer.h.{i}.{name}.bias"] = shape[:1]
    shapes |= {"transformer.ln_f.weight": (C,), "transformer.ln_f.bias": (C,), "lm_head.weight": (V, C)}
    state = {name: torch.randn(shape, generator=g) * 0.3 for name, shape in shapes.items()}
    masks = {f"transformer.h.{i}.attn.bias": torch.ones(T, T).tril().view(1, 1, T, T) for i in range(L)}
    return state | masks


def mingpt_logits(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """minGPT's forward pass, written out."""

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, state[f"transformer.{name}.weight"], state[f"transformer.{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, (C,), state[f"transformer.{name}.weight"], state[f"transformer.{name}.bias"], 1e-5)

    h = state["transformer.wte.weight"][x] + state["transformer.wpe.weight"][: x.shape[1]]
    for i in range(L):
        q, k, v = linear(norm(h, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").split(C, dim=2)
        q, k, v = (t.view(*x.shape, H, C // H).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.mT / (C // H) ** 0.5).masked_fill(torch.ones(T, T).triu(1).bool(), float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(*x.shape, C)
        h = h + linear(y, f"h.{i}.attn.c_proj")
        u = linear(norm(h, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
        u = 0.5 * u * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (u + 0.044715 * u**3)))
        h = h + linear(u, f"h.{i}.mlp.c_proj")
    return norm(h, "ln_f") @ state["lm_head.weight"].T


def test_mingpt_gives_its_own_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = mingpt_weights()
    torch.save(state, tmp_path / "model.pt")
    text = "".join(chr(ord("a") + i) for i in range(V))
    (tmp_path / "input.txt").write_text(text * 3)
    words = ["mingpt", str(tmp_path / "model.pt"), str(tmp_path / "out"), "--text", str(tmp_path / "input.txt")]
    assert main(words) == 2
    assert "--n-head: a model.pt does not hold the number of heads" in capsys.readouterr().err
    assert main([*words, "--n-head", "2"]) == 0
    run = load(tmp_path / "out")
    x = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(1))
    assert (run.model(x)[0] - mingpt_logits(state, x)).abs().max() < 1e-5
    assert run.tokenizer.encode("abc") == [0, 1, 2]
    for changed in ({"lm_head.bias": torch.zeros(V)}, {"transformer.wte.weight": torch.zeros(3)}):
        torch.save(state | changed, tmp_path / "model.pt")
        assert main([*words[:2], str(tmp_path / "b"), *words[3:], "--n-head", "2"]) == 4
        assert capsys.readouterr().err.count("\n") == 1


def adapter(folder: Path, family: str, **settings: Any) -> dict[str, torch.Tensor]:
    """An adapter folder as PEFT writes it, with random updates; returns the updates of the base's weights."""
    g = torch.Generator().manual_seed(2)
    names = {"gpt2": "transformer.h.{i}.attn.c_attn", "llama": "model.layers.{i}.self_attn.q_proj"}
    rows = 96 if family == "gpt2" else 32
    tensors, updates = {}, {}
    for i in range(2):
        name = names[family].format(i=i)
        down, up = torch.randn(4, 32, generator=g) * 0.2, torch.randn(rows, 4, generator=g) * 0.2
        tensors[f"base_model.model.{name}.lora_A.weight"] = down
        tensors[f"base_model.model.{name}.lora_B.weight"] = up
        updates[f"{name}.weight"] = 8 / 4 * up @ down
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "fan_in_fan_out": family == "gpt2",
              "modules_to_save": None, "use_dora": False, "rank_pattern": {}, **settings}  # fmt: skip
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return updates


@pytest.mark.parametrize("family", PARTS)
def test_an_adapter_is_merged_into_its_base(tmp_path: Path, family: str) -> None:
    model = base(tmp_path / "base", family)
    updates = adapter(tmp_path / "adapter", family)
    assert main(["peft", str(tmp_path / "adapter"), str(tmp_path / "out"), "--base", str(tmp_path / "base")]) == 0
    run = load(tmp_path / "out")
    with torch.no_grad():
        for i, update in enumerate(updates.values()):
            model.get_submodule(f"blocks.{i}.attn.qkv").weight[: len(update)] += update  # type: ignore[index, operator]
        assert (run.model(inputs(model))[0] - model(inputs(model))[0]).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias='all'"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"alpha_pattern": {"q_proj": 3}}, "alpha_pattern"),
        ({"r": 0}, "r=0"),
        ({"lora_alpha": "16"}, "lora_alpha='16'"),
    ],
)
def test_adapters_that_would_lose_something_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    base(tmp_path / "base")
    adapter(tmp_path / "adapter", "llama", **settings)
    importer = Importer.choose({"name": "peft", "base": str(tmp_path / "base")})
    with pytest.raises(CheckpointError) as refused:
        importer.read(tmp_path / "adapter")
    assert said in str(refused.value)


def test_damaged_adapters_are_refused_in_one_line(tmp_path: Path) -> None:
    base(tmp_path / "base")
    adapter(tmp_path / "adapter", "llama")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    good, first = load_file(file), "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    importer = Importer.choose({"name": "peft", "base": str(tmp_path / "base")})
    changes: dict[str, dict[str, torch.Tensor]] = {
        "one matrix": {key: value for key, value in good.items() if key != first},
        "another layer": {**good, first.replace("0", "7"): good[first].clone()},
        "a path": {**good, "../../x": good[first].clone()},
        "a shape": {**good, first: torch.zeros(4, 33)},
        "a rank": {**good, first: torch.zeros(3, 32)},
        "three dimensions": {**good, first: torch.zeros(4, 32, 1)},
        "integers": {**good, first: torch.ones(4, 32, dtype=torch.int32)},
        "nothing": {},
    }
    for what, tensors in changes.items():
        save_file(tensors, file)
        with pytest.raises(CheckpointError):
            importer.read(tmp_path / "adapter")
        assert what
    save_file(good, file)
    data, rng = file.read_bytes(), random.Random(0)
    for round in range(200):
        bad = bytearray(data)
        if round % 4 == 0:
            del bad[rng.randrange(len(bad)) :]
        elif bad:
            bad[rng.randrange(600)] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        assert "\n" not in outcome(importer, tmp_path / "adapter")


def outcome(importer: Any, folder: Path) -> str:
    """What importing a folder comes to: "read", or the error's one line."""
    try:
        importer.read(folder)
    except MicrogptError as error:
        return str(error)
    return "read"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT's use of transformers
def test_peft_trains_an_export_that_comes_back_merged(transformers: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="the extra exchange is not installed")
    base(tmp_path / "base")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.manual_seed(0)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    tokens = find_tokenizer(tmp_path / "base", 280).encode(TEXT)
    x = torch.tensor([tokens[i : i + 24] for i in range(0, 72, 24)])
    losses = []
    for _ in range(10):
        loss = model(input_ids=x, labels=x).loss
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.2
    model.eval().save_pretrained(tmp_path / "adapter")
    assert main(["peft", str(tmp_path / "adapter"), str(tmp_path / "out"), "--base", str(tmp_path / "base")]) == 0
    with torch.no_grad():
        expected = model(x).logits
        assert (load(tmp_path / "out").model(x)[0] - expected).abs().max() < 1e-5
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    (tmp_path / "merged" / "tokenizer.json").write_bytes((tmp_path / "base" / "tokenizer.json").read_bytes())
    with torch.no_grad():
        assert (load(tmp_path / "merged").model(x)[0] - expected).abs().max() < 1e-5
