"""nanoGPT's checkpoints: the same logits as its own forward pass, and nothing in them is run."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from harm import Harm
from microgpt import load
from microgpt.engine.commands.import_ import main
from microgpt.engine.exchange.filled import rename
from microgpt.engine.exchange.nanogpt import NAMES, read_checkpoint, read_meta, read_plain
from microgpt.errors import CheckpointError, UsageError

LETTERS = "\n !abcdefghijklé日"
V, L, H, C, T = len(LETTERS), 2, 2, 16, 12


def weights(bias: bool = True, prefix: str = "") -> dict[str, Tensor]:
    """Random weights under nanoGPT's names."""
    g = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, C), "transformer.wpe.weight": (T, C)}
    for i in range(L):
        for name, shape in (("attn.c_attn", (3 * C, C)), ("attn.c_proj", (C, C)), ("mlp.c_fc", (4 * C, C)),
                            ("mlp.c_proj", (C, 4 * C)), ("ln_1", (C,)), ("ln_2", (C,))):  # fmt: skip
            shapes[f"transformer.h.{i}.{name}.weight"] = shape
            if bias:
                shapes[f"transformer.h.{i}.{name}.bias"] = shape[:1]
    shapes["transformer.ln_f.weight"] = (C,)
    if bias:
        shapes["transformer.ln_f.bias"] = (C,)
    state = {name: torch.randn(shape, generator=g) * 0.2 for name, shape in shapes.items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    return {prefix + name: tensor for name, tensor in state.items()}


def checkpoint(path: Path, state: dict[str, Tensor], **arguments: Any) -> Path:
    arguments = {"n_layer": L, "n_head": H, "n_embd": C, "block_size": T, "bias": True, "vocab_size": V, "dropout": 0.0,
                 **arguments}  # fmt: skip
    torch.save({"model": state, "optimizer": {"state": {}}, "model_args": arguments, "iter_num": 7,
                "best_val_loss": torch.tensor(1.5), "config": {"out_dir": "out"}}, path)  # fmt: skip
    return path


def logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """nanoGPT's forward pass, written out."""

    def get(name: str, part: str) -> Any:
        return state.get(f"transformer.{name}.{part}")

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, get(name, "weight"), get(name, "bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (C,), get(name, "weight"), get(name, "bias"), 1e-5)

    h = get("wte", "weight")[x] + get("wpe", "weight")[: x.shape[1]]
    for i in range(L):
        q, k, v = linear(norm(h, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn").split(C, dim=2)
        q, k, v = (t.view(*x.shape, H, C // H).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(*x.shape, C)
        h = h + linear(y, f"h.{i}.attn.c_proj")
        h = h + linear(F.gelu(linear(norm(h, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")), f"h.{i}.mlp.c_proj")
    return norm(h, "ln_f") @ state["lm_head.weight"].T


def meta(path: Path, **more: Any) -> Path:
    itos = dict(enumerate(LETTERS))
    path.write_bytes(pickle.dumps({"vocab_size": V, "itos": itos, "stoi": {c: i for i, c in itos.items()}, **more}))
    return path


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("bias", [True, False])
def test_a_checkpoint_of_nanogpt_becomes_a_run_with_its_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bias: bool, prefix: str
) -> None:
    ckpt = checkpoint(tmp_path / "ckpt.pt", weights(bias, prefix), bias=bias)
    out = tmp_path / "out"
    assert main(["nanogpt", str(ckpt), str(out), "--meta", str(meta(tmp_path / "meta.pkl"))]) == 0
    assert f"microgpt-generate {out}" in capsys.readouterr().out
    run = load(out)
    x = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(1))
    assert (run.model(x)[0] - logits(weights(bias), x)).abs().max() < 1e-5
    assert run.tokenizer.encode("abc é日") == [LETTERS.index(c) for c in "abc é日"]
    assert run.generate("abc", max_new_tokens=5, seed=0).startswith("abc")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_meta_is_read_at_every_protocol(tmp_path: Path, protocol: int) -> None:
    itos = dict(enumerate(LETTERS * 1))
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": V, "itos": itos}, protocol))
    assert "".join(read_meta(tmp_path / "meta.pkl").characters) == LETTERS
    many = {i: chr(0x4E00 + i) for i in range(5000)}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"itos": many}, protocol))
    assert read_meta(tmp_path / "meta.pkl").characters == tuple(many.values())


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="GLOBAL"):
        read_meta(meta(tmp_path / "meta.pkl", more=Harm()))
    torch.save({"model": {}, "model_args": Harm()}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="not a file of plain weights"):
        read_checkpoint(tmp_path / "ckpt.pt")
    assert not Path("harmed").exists()


def test_it_does_not_start_where_torch_is_told_to_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ckpt = checkpoint(tmp_path / "ckpt.pt", weights())
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UsageError, match="unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        read_checkpoint(ckpt)


@pytest.mark.parametrize(
    "arguments",
    [{"n_layer": 3}, {"n_layer": 10**9}, {"n_head": 3}, {"n_embd": "wide"}, {"vocab_size": V + 1}, {"bias": False},
     {"vocab_size": "many"}],
)  # fmt: skip
def test_arguments_that_do_not_fit_the_weights_are_refused(tmp_path: Path, arguments: Any) -> None:
    with pytest.raises(CheckpointError):
        read_checkpoint(checkpoint(tmp_path / "ckpt.pt", weights(), **arguments))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", pickle.dumps([1]), pickle.dumps({"itos": 3})])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "file")
    with pytest.raises(CheckpointError):
        read_meta(tmp_path / "file")


def test_every_cut_of_a_meta_file_is_refused(tmp_path: Path) -> None:
    data = meta(tmp_path / "meta.pkl").read_bytes()
    for length in range(len(data)):
        with pytest.raises((ValueError, IndexError, KeyError)):
            read_plain(data[:length])


def test_a_tokenizer_must_be_named_and_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ckpt = checkpoint(tmp_path / "ckpt.pt", weights())
    assert main(["nanogpt", str(ckpt), str(tmp_path / "out")]) == 2
    assert "--meta" in capsys.readouterr().err
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps({"itos": {0: "a", 1: "b"}}))
    assert main(["nanogpt", str(ckpt), str(tmp_path / "out"), "--meta", str(tmp_path / "meta.pkl")]) == 4
    assert "the tokenizer has 2 tokens, the model 17" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_project_is_one_file_of_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lab.py").write_text(
        "from microgpt import GPT, CharTokenizer, GPTConfig\n"
        "from microgpt.engine.exchange.importers import Importer\n"
        "class Lab(Importer, name='lab'):\n"
        "    letters: str = 'ab'\n"
        "    'Its characters.'\n"
        "    def read(self, checkpoint):\n"
        "        width = int(checkpoint.read_text())\n"
        "        return GPT(GPTConfig(n_embd=width, n_layer=1), 3).eval(), CharTokenizer(self.letters)\n"
    )
    (tmp_path / "ckpt").write_text("16")
    words = ["lab", str(tmp_path / "ckpt"), str(tmp_path / "out"), "--import", str(tmp_path / "lab.py")]
    assert main([*words, "--letters", "abc"]) == 0
    assert load(tmp_path / "out").config.n_embd == 16
    capsys.readouterr()
    assert main([*words, "--meta", "m"]) == 2
    assert "--meta is no option of 'lab' in the arguments; it has --letters" in capsys.readouterr().err
    assert main(["lap", *words[1:]]) == 2
    assert "no project 'lap' in PROJECT; did you mean 'lab'?" in capsys.readouterr().err


def test_a_head_of_its_own_is_imported_with_its_own_weights(tmp_path: Path) -> None:
    state = weights()
    state["lm_head.weight"] = torch.randn(V, C, generator=torch.Generator().manual_seed(9))
    model = read_checkpoint(checkpoint(tmp_path / "ckpt.pt", state))
    assert not model.config.tie_weights
    x = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(1))
    assert (model(x)[0] - logits(state, x)).abs().max() < 1e-5
    del state["lm_head.weight"]
    assert read_checkpoint(checkpoint(tmp_path / "ckpt.pt", state)).config.tie_weights


def test_causal_masks_among_the_weights_are_not_lost_weights(tmp_path: Path) -> None:
    state = weights()
    mask = torch.tril(torch.ones(T, T)).view(1, 1, T, T)
    read_checkpoint(checkpoint(tmp_path / "ckpt.pt", state | {"transformer.h.0.attn.bias": mask}))
    for other in (mask.transpose(2, 3), mask[0], torch.zeros(3 * C), torch.tensor(0.0)):
        ckpt = checkpoint(tmp_path / "ckpt.pt", state | {"transformer.h.0.attn.bias": other.contiguous()})
        with pytest.raises(CheckpointError, match=r"would be lost: 'model.transformer.h.0.attn.bias'"):
            read_checkpoint(ckpt)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"model.{name}", torch.ones(C)) for name in ("transformer.h.0.attn.gate", "lm_head.bias", "value_embed.0",
                                                        "transformer.h.2.ln_1.weight", "_orig_mod.lm_head.weight")),
        ("model.step", 3),
        ("model.transformer.wpe.scale", torch.ones(C, dtype=torch.int8)),
        ("model_args.rope", True),
        ("model_args.n_kv_head", 1),
        ("ema", {}),
        ("lora_A", torch.ones(2)),
    ],
)  # fmt: skip
def test_nothing_in_a_checkpoint_is_lost_in_silence(tmp_path: Path, name: str, value: Any) -> None:
    ckpt = checkpoint(tmp_path / "ckpt.pt", weights())
    state = torch.load(ckpt, weights_only=True)
    *outer, inner = name.split(".", 1)  # names of weights have dots of their own
    (state[outer[0]] if outer else state)[inner] = value
    torch.save(state, ckpt)
    with pytest.raises(CheckpointError) as refusal:
        read_checkpoint(ckpt)
    assert rename(inner, NAMES) in str(refusal.value) or inner in str(refusal.value)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [({"vocab_size": 1 << 36}, "bytes in"), ({"vocab_size": 0}, "a vocabulary of 0"),
     ({"n_layer": 1 << 40}, "layers in"), ({"block_size": 1 << 40}, "too much"), ({"n_embd": 1 << 40}, "too much")],
)  # fmt: skip
def test_sizes_that_the_file_does_not_hold_are_refused_before_memory_is_taken(
    tmp_path: Path, sizes: dict[str, int], said: str
) -> None:
    ckpt = checkpoint(tmp_path / "ckpt.pt", weights())
    state = torch.load(ckpt, weights_only=True)
    state["model_args"] |= sizes
    rows = sizes.get("vocab_size", V)
    if rows != V:  # a table of as many rows, all of them the same place of the file
        state["model"].pop("lm_head.weight", None)
        state["model"]["transformer.wte.weight"] = torch.zeros(min(1, rows), C).expand(rows, C)
    torch.save(state, ckpt)
    with pytest.raises(CheckpointError, match=said):
        read_checkpoint(ckpt)


def test_weights_of_several_types_keep_the_widest(tmp_path: Path) -> None:
    state = weights()
    state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()
    state["lm_head.weight"] = state["transformer.wte.weight"]
    model = read_checkpoint(checkpoint(tmp_path / "ckpt.pt", state))
    assert torch.equal(model.state_dict()["norm.weight"], state["transformer.ln_f.weight"])


@pytest.mark.parametrize("odd", [{"vocab_size": V + 1}, {"stoi": {"a": 0}}, {"merges": {}}])
def test_a_meta_file_that_holds_more_or_contradicts_itself_is_refused(tmp_path: Path, odd: Any) -> None:
    with pytest.raises(CheckpointError, match="no plain dictionaries"):
        read_meta(meta(tmp_path / "meta.pkl", **odd))


def test_a_missing_checkpoint_is_what_the_error_speaks_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone.pt"
    assert main(["nanogpt", str(gone), str(tmp_path / "out")]) == 2
    assert f"no such file '{gone}' in CKPT; name a checkpoint of nanogpt" in capsys.readouterr().err
