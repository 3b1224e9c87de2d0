"""Runs on documents: they train, resume, share their batches and score like runs on a text, and end by themselves."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from microgpt import Run, load, train
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.documents import EncodedDocuments
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.commands import evaluate as evaluate_command
from microgpt.engine.commands import generate as generate_command
from microgpt.engine.exchange.export import export
from microgpt.engine.store import checkpoint
from microgpt.engine.trained.copies import copies
from microgpt.engine.trained.evaluate import evaluate
from microgpt.engine.trained.protocols import EvalProtocol
from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig

Tiny = Callable[..., list[str]]
EXACT = ("trainer.precision=64-true", "optim=adamw", "data.batch_size=8")
NAMES = [f"{a}{b}{c}" for a in "kmtrs" for b in ("a", "iu", "oo") for c in ("", "n", "ssel", "nde")]


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture
def on_names(tiny: Tiny, names: Path) -> Tiny:
    def overrides(*more: str) -> list[str]:
        return [*tiny(f"data.path={names}", "data.documents=lines"), *more]

    return overrides


def final(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read(checkpoint.checkpoints(path / "checkpoints")[0])[0]


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("windows", ["within", "across"])
def test_a_resumed_run_ends_with_the_same_bits(on_names: Tiny, tmp_path: Path, windows: str) -> None:
    knobs = (f"data.document_windows={windows}", "optim.schedule=constant", "optim.warmup_steps=0")
    train(on_names(*knobs, "trainer.max_steps=3"))
    train(on_names(*knobs))
    train(on_names(*knobs, f"hydra.run.dir={tmp_path / 'whole'}"))
    assert difference(final(tmp_path / "run"), final(tmp_path / "whole")) == 0
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[-1].startswith("6,")


def test_micro_batches_and_ranks_learn_from_documents_what_one_batch_does(on_names: Tiny, tmp_path: Path) -> None:
    runs = {"one": (), "micro": ("trainer.micro_batch_size=2",),
            "ranks": ("trainer.devices=2", "trainer.micro_batch_size=2")}  # fmt: skip
    summaries = {}
    for name, knobs in runs.items():
        run = train(on_names(*EXACT, *knobs, f"hydra.run.dir={tmp_path / name}"))
        assert run is not None
        summaries[name] = run.summary
    for name in ("micro", "ranks"):
        assert difference(final(tmp_path / "one"), final(tmp_path / name)) < 1e-12
        assert abs(summaries["one"]["val/loss"] - summaries[name]["val/loss"]) < 1e-12
    assert [row.split(",")[3] for row in (tmp_path / "one" / "metrics.csv").read_text().splitlines()] == [
        row.split(",")[3] for row in (tmp_path / "micro" / "metrics.csv").read_text().splitlines()
    ]


def documents(names: Path) -> EncodedDocuments:
    encoded = prepare(DataConfig(path=str(names), documents="lines", val_fraction=0.0)).splits["train"]
    assert isinstance(encoded, EncodedDocuments)
    return encoded


@pytest.mark.parametrize("pos", ["rope", "learned", "alibi", "none"])
@pytest.mark.parametrize("block_size", [4, 32])
def test_the_score_is_of_each_document_alone(names: Path, pos: str, block_size: int) -> None:
    encoded = documents(names)
    torch.manual_seed(0)
    config = GPTConfig.from_dict({"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": block_size, "pos": pos})
    model = GPT(config, encoded.tokenizer.vocab_size).double().eval()
    total, tokens = 0.0, 0
    for low, length in zip(encoded.starts.tolist(), encoded.lengths.tolist(), strict=True):
        ids = encoded.ids[low : low + length].long()
        first = 0
        while first < length - 1:  # adjacent windows, the last one reaching back
            begin = max(0, min(first, length - 1 - block_size))
            x, y = ids[begin : begin + block_size][: length - 1], ids[begin + 1 : begin + 1 + block_size]
            losses = F.cross_entropy(model(x[None, : len(y)])[0][0], y, reduction="none")
            total += float(losses[first - begin :].sum().detach())
            tokens += len(y) - (first - begin)
            first += block_size
    score = evaluate(model, encoded, batch_size=7)
    assert score.tokens == tokens == sum(map(len, NAMES)) + len(NAMES)
    assert score.loss == pytest.approx(total / tokens, rel=1e-6)
    assert score.values["document_loss"] == pytest.approx(total / len(NAMES), rel=1e-6)
    for protocol in EvalProtocol.members:
        other = evaluate(model, encoded, protocol=protocol)
        if block_size == 32:  # whole documents: every protocol has the same context
            assert other.loss == pytest.approx(score.loss, rel=1e-6 if protocol != "random" else 0.02)


@pytest.mark.parametrize("pos", ["rope", "learned", "alibi", "t5"])
def test_a_training_row_has_the_loss_of_its_document_alone(names: Path, pos: str) -> None:
    config = DataConfig(path=str(names), documents="lines", batch_size=16, val_fraction=0.0)
    corpus = prepare(config)
    torch.manual_seed(0)
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 32, "pos": pos}
    model = GPT(GPTConfig.from_dict(shape), corpus.tokenizer.vocab_size).double()
    x, y = corpus.windows(config, 32, seed=0).batch(0)
    alone = []
    for inputs, targets in zip(x, y, strict=True):
        n = int((targets >= 0).sum())
        alone.append(F.cross_entropy(model(inputs[None, :n])[0][0], targets[:n], reduction="sum"))
    expected = torch.stack(alone).sum() / (y >= 0).sum()
    assert float(model.loss(x, y).detach()) == pytest.approx(float(expected.detach()), rel=1e-7)


@pytest.fixture
def learnt(on_names: Tiny, tmp_path: Path) -> Run:
    """A model that has nearly learnt the names by heart."""
    knobs = ("optim=adamw", "optim.lr=0.01", "trainer.max_steps=120", "eval.every_n_steps=0", "data.batch_size=32")
    run = train(on_names(*knobs))
    assert run is not None
    return run


def test_names_end_by_themselves_and_copies_are_named(
    learnt: Run, names: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    train_part = prepare(DataConfig.from_dict({"path": str(names), "documents": "lines"})).splits["train"]
    assert isinstance(train_part, EncodedDocuments)
    tokenizer = learnt.tokenizer
    assert isinstance(tokenizer, DocumentTokenizer)
    known = {
        tokenizer.inner.decode(train_part.ids[low + 1 : low + length - 1])
        for low, length in zip(train_part.starts.tolist(), train_part.lengths.tolist(), strict=True)
    }
    capsys.readouterr()
    assert generate_command.main([folder, "--num-samples", "60", "--seed", "1", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["in_training"] == [text in known for text in made["texts"]]
    assert sum(made["in_training"]) > 20
    assert sum(text in NAMES for text in made["texts"]) > 40
    assert not any("\n" in text for text in made["texts"])
    assert max(map(len, made["texts"])) < 12  # no name runs over into the next

    assert generate_command.main([folder, "--num-samples", "60", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    marks = [generate_command.COPY if mark else "" for mark in made["in_training"]]
    assert lines == [text + mark for text, mark in zip(made["texts"], marks, strict=True)]

    prompt = next(name for name in sorted(known) if len(name) > 4)
    assert generate_command.main([folder, "--prompt", prompt[:-1], "--greedy"]) == 0
    assert capsys.readouterr().out == f"{prompt}{generate_command.COPY}\n"
    assert copies(tmp_path / "run", tokenizer, [prompt, prompt[:-1], "", "日本"]) == [True, False, False, False]
    names.unlink()
    assert copies(tmp_path / "run", tokenizer, [prompt]) is None


def test_any_file_is_scored_as_documents_and_in_nats_per_document(
    learnt: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("\r\n".join(NAMES[:7]) + "\r\n")
    capsys.readouterr()
    assert evaluate_command.main([str(tmp_path / "run"), "--data", str(other), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    characters = sum(map(len, NAMES[:7]))
    assert found["tokens"] == characters + 7
    assert found["document_loss"] == pytest.approx(found["loss"] * found["tokens"] / 7)
    assert found["bpc"] == pytest.approx(found["loss"] * found["tokens"] / characters / math.log(2))
    assert learnt.evaluate(other).document_loss == found["document_loss"]
    with pytest.raises(UsageError, match="give the Path of a file of documents"):
        learnt.evaluate(NAMES[0])
    assert evaluate_command.main([str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert f"{learnt.summary['val/document_loss']:.4f} nats per document" in printed
    assert "5-gram counts" in printed
    assert load(tmp_path / "run").summary["val/document_loss"] == learnt.summary["val/document_loss"]


def test_transformers_generates_a_document_from_an_export(on_names: Tiny, tmp_path: Path, transformers: Any) -> None:
    run = train(on_names("model=llama", "model.n_layer=2", "model.n_embd=32", "model.n_head=2", "model.block_size=16"))
    assert run is not None
    assert isinstance(run.tokenizer, DocumentTokenizer)
    export(run, tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    settings = model.generation_config
    assert (settings.bos_token_id, settings.eos_token_id) == (run.tokenizer.start, run.tokenizer.end)
    assert tokenizer("ka")["input_ids"] == run.tokenizer.prompt("ka")
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|start|>", "<|end|>")
