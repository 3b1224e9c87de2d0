"""A pretrained model is fine-tuned on documents: they end with its own end token, and its exports end as it does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt import load, train
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.exchange.export import export
from microgpt.engine.store import checkpoint
from microgpt.engine.trained.copies import copies
from microgpt.errors import UsageError
from microgpt.inspect import inspect
from microgpt.model import GPT, GPTConfig, save_model
from subwords import subwords

Tiny = Callable[..., list[str]]
STORIES = [f"{who} {did} to the {where}" for who in ("a cat", "the dog", "one man") for did in ("ran", "went", "came")
           for where in ("tree", "mat", "house", "sea")]  # fmt: skip
END = "<|endoftext|>"


@pytest.fixture
def on_stories(tiny: Tiny, tmp_path: Path) -> Tiny:
    """Fine-tuning of a small GPT-2 with random weights, on a JSONL file."""
    torch.manual_seed(0)
    parts = {"norm": "layernorm", "pos": "learned", "mlp": "gelu_tanh", "bias": True, "tie_weights": True}
    config = GPTConfig.from_dict({"n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 32, **parts})
    for name, special in (("gpt2", [END]), ("endless", [])):
        tokens = subwords(STORIES * 3, 300, *special)
        save_model(tmp_path / name, GPT(config, tokens.vocab_size), tokens.to_dict())
    (tmp_path / "stories.jsonl").write_text("".join(json.dumps({"story": story}) + "\n" for story in STORIES))

    def overrides(*more: str) -> list[str]:
        knobs = (f"data.path={tmp_path / 'stories.jsonl'}", "data.documents=jsonl", "data.jsonl_key=story",
                 f"model.pretrained={tmp_path / 'gpt2'}", "optim=adamw", "optim.lr=0.01")  # fmt: skip
        return [*tiny(*knobs), *more]

    return overrides


def test_a_pretrained_model_learns_where_documents_end(on_stories: Tiny, tmp_path: Path, transformers: Any) -> None:
    run = train(on_stories("trainer.max_steps=150", "data.batch_size=32", "eval.every_n_steps=150"))
    assert run is not None
    tokenizer = run.tokenizer
    assert isinstance(tokenizer, DocumentTokenizer)
    assert (tokenizer.start_token(), tokenizer.end_token()) == ((0, END), (0, END))
    assert run.model.vocab_size == tokenizer.vocab_size == tokenizer.inner.vocab_size
    assert run.summary["val/loss"] < 1.5
    texts = [run.generate(max_new_tokens=30, temperature=0.0), run.generate("one man", max_new_tokens=30, seed=2)]
    assert all(END not in text and "\n" not in text and len(text) < 40 for text in texts)
    assert copies(tmp_path / "run", tokenizer, [STORIES[0] + "!", *texts]) is not None
    shown = inspect(run.model, tokenizer.prompt("one man"))
    assert len(shown.ids) == 1 + len(tokenizer.encode("one man"))
    assert run.inspect("one man").surprisal() is not None

    export(run, tmp_path / "hf", {"name": "hf", "card": False})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs("one man")["input_ids"] == tokenizer.prompt("one man")
    assert (theirs.bos_token, theirs.eos_token) == (END, END)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    made = model.generate(torch.tensor([tokenizer.prompt("")]), max_new_tokens=30, do_sample=False)[0].tolist()
    assert made[-1] == 0
    assert tokenizer.decode(made[:-1]) == texts[0]
    again = load(tmp_path / "run")
    assert again.tokenizer == tokenizer
    assert again.generate(max_new_tokens=30, temperature=0.0) == texts[0]


@pytest.mark.parametrize("windows", ["within", "across"])
def test_fine_tuning_on_documents_resumes_with_the_same_bits(on_stories: Tiny, tmp_path: Path, windows: str) -> None:
    knobs = (f"data.document_windows={windows}", "optim.schedule=constant", "optim.warmup_steps=0")
    train(on_stories(*knobs, "trainer.max_steps=3"))
    train(on_stories(*knobs))
    train(on_stories(*knobs, f"hydra.run.dir={tmp_path / 'whole'}"))
    ends = [checkpoint.read(checkpoint.checkpoints(tmp_path / name / "checkpoints")[0])[0] for name in ("run", "whole")]
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_a_model_of_documents_is_fine_tuned_on_others(on_stories: Tiny, tmp_path: Path) -> None:
    train(on_stories())
    more = [f"model.pretrained={tmp_path / 'run' / 'model'}", f"hydra.run.dir={tmp_path / 'second'}"]
    run = train(on_stories(*more))
    assert run is not None
    assert isinstance(run.tokenizer, DocumentTokenizer)
    assert run.tokenizer == load(tmp_path / "run").tokenizer


def test_without_an_end_token_documents_are_refused_before_a_folder_appears(on_stories: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a model without tokens for a document's start and end"):
        train(on_stories(f"model.pretrained={tmp_path / 'endless'}"))
    assert not (tmp_path / "run").exists()
