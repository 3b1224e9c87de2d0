"""Training that starts from a pretrained model: what wins, what is trained, what is saved, and that it helps."""

import argparse
import csv
import inspect
import json
import math
import optparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from microgpt import GPT, GPTConfig, Run, load, train
from microgpt.config import ConfigError
from microgpt.data.tokenizer import HFTokenizer
from microgpt.engine.config import RunConfig
from microgpt.engine.trained.growing_text import GrowingText
from microgpt.errors import CheckpointError, DataError, UsageError
from microgpt.model import save_model
from microgpt.model.files.hf import write_model

GPT2_PARTS = ["model.pos=learned", "model.norm=layernorm", "model.bias=true", "model.tie_weights=true",
              "model.mlp=gelu_tanh", "model.qk_norm=false", "model.init=gpt2"]  # fmt: skip


def exported(run: Run, folder: Path) -> Path:
    """A Hugging Face folder of a run, with its tokenizer."""
    folder.mkdir()
    write_model(folder, run.model)
    (folder / "tokenizer.json").write_text(run.tokenizer.text)  # type: ignore[attr-defined]
    return folder


@pytest.fixture
def base(tokenizers: Any, tiny: Callable[..., list[str]], tmp_path: Path) -> Path:
    """A small GPT-2 with a BPE tokenizer, as a Hugging Face folder."""
    run = train(tiny(*GPT2_PARTS, "data.tokenizer=bpe", "data.vocab_size=300", f"hydra.run.dir={tmp_path / 'base'}"))
    return exported(run, tmp_path / "hf")  # type: ignore[arg-type]


def test_the_pretrained_architecture_wins_and_the_run_says_so(
    base: Path, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = train(tiny(f"model.pretrained={base}", "model.n_layer=5", "model.dropout=0.1", "model.block_size=8"))
    pretrained = GPT.from_pretrained(base)
    assert run.config.n_layer == pretrained.config.n_layer == 2
    assert (run.config.block_size, run.config.dropout) == (8, 0.1)
    assert run.config.pos.name == "learned"
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["model"] == run.config.to_dict()
    assert saved["model"]["pretrained"] == str(base)
    assert saved["data"]["tokenizer"] == "pretrained"
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["model"] == saved["model"]
    log = (tmp_path / "run" / "train.log").read_text()
    assert "which wins: " in log
    assert "n_layer: 5 -> 2" in log
    RunConfig.from_dict(saved)  # the file is a config again


def test_the_tokenizer_comes_with_the_weights_and_the_first_step_with_their_loss(
    base: Path, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = train(tiny(f"model.pretrained={base}", "optim.lr=1e-9", "optim=adamw", "trainer.max_steps=1"))
    before = load(tmp_path / "base")
    assert run.tokenizer.vocab_size == before.tokenizer.vocab_size == run.model.vocab_size
    assert run.tokenizer.encode("the cat") == before.tokenizer.encode("the cat")
    assert run.summary["val/loss"] == pytest.approx(before.summary["val/loss"], abs=1e-5)


def test_a_run_of_ours_is_pretrained_with_its_own_tokenizer(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    first = train(tiny(f"hydra.run.dir={tmp_path / 'first'}"))
    run = train(tiny(f"model.pretrained={tmp_path / 'first'}", "optim=adamw", "optim.lr=1e-9", "trainer.max_steps=1"))
    assert run.tokenizer == first.tokenizer
    assert run.summary["val/loss"] == pytest.approx(first.summary["val/loss"], abs=1e-5)


def test_it_resumes_with_the_same_weights_as_an_unbroken_run(
    base: Path, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    knobs = (f"model.pretrained={base}", "lora.rank=2", "checkpoint.every_n_steps=3", "optim=adamw")
    whole = train(tiny(*knobs, f"hydra.run.dir={tmp_path / 'whole'}"))
    train(tiny(*knobs))
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-00000006")
    (tmp_path / "run" / "summary.json").unlink()
    resumed = train(tiny(*knobs))
    a, b = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_lora_is_merged_in_what_is_saved_and_frozen_weights_stay(
    base: Path, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    pretrained = GPT.from_pretrained(base, block_size=16).state_dict()
    run = train(tiny(f"model.pretrained={base}", "lora.rank=2", "optim=adamw", "optim.lr=1e-2"))
    saved = run.model.state_dict()
    assert saved.keys() == pretrained.keys()
    changed = {name for name in saved if not torch.equal(saved[name], pretrained[name])}
    assert changed == {f"blocks.{i}.attn.{matrix}.weight" for i in (0, 1) for matrix in ("qkv", "out")}
    assert run.summary["trained_params"] < run.summary["params"]

    frozen = train(tiny(f"model.pretrained={base}", "trainer.freeze=[wte.*,blocks.0.*]", "optim=adamw",
                        f"hydra.run.dir={tmp_path / 'frozen'}")).model.state_dict()  # fmt: skip
    same = {name for name in frozen if torch.equal(frozen[name], pretrained[name])}
    assert same == {name for name in frozen if name.startswith(("wte.", "blocks.0."))}


def test_wrong_names_are_refused(base: Path, tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lora\.targets"):
        train(tiny("lora.rank=2", "lora.targets=[attn.qvk]"))
    with pytest.raises(UsageError, match=r"trainer\.freeze"):
        train(tiny("trainer.freeze=[nothing]"))
    with pytest.raises(ConfigError, match=r"model\.pretrained"):
        train(tiny("data.tokenizer=pretrained"))
    with pytest.raises(CheckpointError, match="no such folder"):
        train(tiny("model.pretrained=./nowhere"))
    (base / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        train(tiny(f"model.pretrained={base}"))


def test_words_of_a_sentencepiece_tokenizer_keep_the_space_before_them(tokenizers: Any) -> None:
    """Llama's first tokenizers mark the space before a word, and leave it out at the start of a text."""
    vocab = {c: i for i, c in enumerate("\u2581abcdefgh\n")}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], byte_fallback=True))
    backend.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("\u2581"), tokenizers.normalizers.Replace(" ", "\u2581")]
    )
    backend.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.Replace("\u2581", " "), tokenizers.decoders.Fuse(), tokenizers.decoders.Strip(" ", 1, 0)]
    )
    tokenizer = HFTokenizer(backend.to_str())
    prompt, new = tokenizer.encode("bad"), [vocab[c] for c in "\u2581cab"]
    assert tokenizer.decode(prompt) == "bad"
    assert tokenizer.decode(new) == "cab"
    text = GrowingText(tokenizer, prompt)
    for token in new:
        text.add(token)
    assert text.finish() == " cab"
    assert tokenizer.settled("bad cab bad cab") == 0


def losses(folder: Path) -> list[float]:
    """The validation losses of a run, in order."""
    with (folder / "metrics.csv").open() as file:
        return [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]


@pytest.mark.slow
def test_fine_tuning_lowers_the_loss_and_beats_training_from_scratch(tokenizers: Any, tmp_path: Path) -> None:
    """On one option parser's source after another's; LoRA with under 2 % of the weights stays within 0.3 nats."""
    texts = {"first": inspect.getsource(argparse), "second": inspect.getsource(optparse)}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    shape = ["model.n_layer=2", "model.n_head=4", "model.n_embd=96", "model.block_size=32", *GPT2_PARTS]
    common = ["data.batch_size=16", "trainer.precision=32-true", "trainer.compile=false", "trainer.progress=none",
              "eval.figures=never", "sample.every_n_steps=0", "sample.max_new_tokens=4", "optim=adamw",
              "model=gpt-nano"]  # fmt: skip

    def trained(name: str, text: str, *knobs: str) -> tuple[Run, list[float]]:
        folder = tmp_path / name
        run = train([*common, f"data.path={tmp_path / text}.txt", f"hydra.run.dir={folder}", *knobs])
        return run, losses(folder)  # type: ignore[return-value]

    base, _ = trained("base", "first", *shape, "optim.lr=3e-3", "data.tokenizer=bpe", "data.vocab_size=512",
                      "trainer.max_steps=400", "eval.every_n_steps=200")  # fmt: skip
    folder = exported(base, tmp_path / "hf")
    budget = ["trainer.max_steps=60", "eval.every_n_steps=10", f"model.pretrained={folder}"]
    start, _ = trained("start", "second", *budget, "model.block_size=32", "optim.lr=1e-9", "trainer.max_steps=1")
    before = start.summary["val/loss"]
    tuned, curve = trained("tuned", "second", *budget, "model.block_size=32", "optim.lr=1e-3")
    low_rank, lora_curve = trained(
        "lora",
        "second",
        *budget,
        "model.block_size=32",
        "optim.lr=5e-3",
        "lora.rank=1",
        "lora.targets=[attn.*,mlp.*]",
        "optim.weight_decay=0.0",
    )
    scratch = min(
        # The same tokens and budget, from nothing, at the better of two rates.
        trained(f"scratch{lr}", "second", *budget[:2], *shape, f"optim.lr={lr}", "data.tokenizer=bpe",
                "data.vocab_size=512")[0].summary["val/bpb"] for lr in ("1e-3", "3e-3")
    )  # fmt: skip
    assert curve[0] < before
    assert lora_curve[0] < before
    assert min(lora_curve) < before - 0.1
    assert min(curve) < before
    assert tuned.summary["val/bpb"] < scratch
    assert low_rank.summary["val/bpb"] < scratch
    assert low_rank.summary["trained_params"] < 0.02 * low_rank.summary["params"]
    assert low_rank.summary["val/loss"] - tuned.summary["val/loss"] < 0.3
    print(f"before {before:.3f}, tuned {tuned.summary['val/loss']:.3f} ({tuned.summary['val/bpb']:.3f} bits a byte), "
          f"LoRA {low_rank.summary['val/loss']:.3f} with {low_rank.summary['trained_params']} of "
          f"{low_rank.summary['params']} weights; from scratch {scratch:.3f} bits a byte")  # fmt: skip


def test_what_a_pretrained_tokenizer_cannot_represent_is_said_and_recorded(
    tiny: Callable[..., list[str]], book: Path, tokenizers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces = [("<unk>", 0.0), ("\u2581", -2.0), *((c, -3.0) for c in sorted(set(book.read_text()) - set(" z")))]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer, folder = HFTokenizer(backend.to_str()), tmp_path / "base"
    model = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=16), tokenizer.vocab_size)
    save_model(folder, model, tokenizer.to_dict())
    text = book.read_text()
    book.write_text(text + "日本日", encoding="utf-8")
    with pytest.raises(DataError, match=rf"'日' U\+65E5, '本' U\+672C, the first at position {len(text)}"):
        train(tiny(f"model.pretrained={folder}", "data.val_fraction=0.5"))
    run = train(tiny(f"model.pretrained={folder}", "data.val_fraction=0.5", "data.unknown=replace"))
    assert run is not None
    assert run.summary["unknown_characters"] == 3
    assert "are not in the model's vocabulary and were replaced by a stand-in: '日' U+65E5 x2, '本' U+672C x1" in (
        (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    )
    tokens_per_character = run.summary["val/bpc"] / (run.summary["val/loss"] / math.log(2))
    half = (len(text) + 3) - (len(text) + 3) // 2
    whole = HFTokenizer(backend.to_str(), unknown="replace").encode((text + "日本日")[-half:])
    assert tokens_per_character == pytest.approx(len(whole) / half, rel=1e-6)
