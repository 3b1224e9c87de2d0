"""Exports: opened by transformers with equal logits and tokens, checked before they appear, refused by name."""

import itertools
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microgpt import ByteTokenizer, CharTokenizer, load, train
from microgpt.data.tokenizer import BPETokenizer
from microgpt.engine.commands.export import main
from microgpt.engine.exchange import export as exporting
from microgpt.engine.exchange.export import export_hf
from microgpt.errors import CheckpointError, UsageError

GPT2 = ["model.pos=learned", "model.norm=layernorm", "model.mlp=gelu_tanh", "model.bias=true", "model.qk_norm=false",
        "model.init=gpt2", "model.tie_weights=true"]  # fmt: skip
LLAMA = ["model.pos=rope", "model.norm=rmsnorm", "model.mlp=swiglu", "model.qk_norm=false", "model.n_kv_head=1"]
PLAIN = ["model.pos=rope", "model.norm=rmsnorm", "model.mlp=gelu", "model.qk_norm=false"]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize(
    ("parts", "name"), [(GPT2, "GPT2LMHeadModel"), (LLAMA, "LlamaForCausalLM"), ([], "Qwen3ForCausalLM")]
)
def test_transformers_opens_a_trained_model(transformers, tokenizers, tiny, tmp_path, capsys, parts, name, kind):
    run = train(tiny(*parts, f"data.tokenizer={kind}", "data.vocab_size=300"))
    out = tmp_path / "out"
    capsys.readouterr()
    assert main([str(tmp_path / "run"), str(out), "--format", "hf"]) == 0
    printed = capsys.readouterr().out
    assert "its logits differ by" in printed

    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert type(model).__name__ == name
    x = torch.randint(run.model.vocab_size, (4, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = (run.model(x)[0] - model(x).logits).abs().max()
    assert difference <= 1e-5

    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer.model_max_length == 16
    text = "the cat and the dog\n sat!?"
    assert tokenizer(text)["input_ids"] == run.tokenizer.encode(text)
    assert tokenizer.decode(run.tokenizer.encode(text)) == text
    pipe = transformers.pipeline("text-generation", model=str(out))
    made = pipe("the c", max_new_tokens=8, do_sample=False)[0]["generated_text"]
    assert made == run.generate("the c", max_new_tokens=8, temperature=0)

    card = (out / "README.md").read_text()
    assert "book.txt" in card
    assert f"{run.summary['val/bpc']:.6g}" in card
    assert "| n_layer | 2 |" in card
    assert f"transformers {transformers.__version__}; the largest difference" in card
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] is None
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_export_is_a_run_again_and_its_weights_are_identical(tokenizers, tiny, tmp_path):
    run = train(tiny(*PLAIN))
    export_hf(run, tmp_path / "out")
    again = load(tmp_path / "out")
    a, b = run.model.state_dict(), again.model.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert again.config == run.config
    assert again.generate("the c", seed=1) == run.generate("the c", seed=1)


def test_without_transformers_our_own_reader_checks_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    run = train(tiny(*PLAIN))
    assert export_hf(run, tmp_path / "out") == 0.0
    assert "opened by microgpt's own reader" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_that_does_not_match_does_not_appear(tiny, tmp_path, monkeypatch):
    run = train(tiny(*PLAIN))
    reopened = exporting.reopened

    def wrong(folder):
        name, logits, encode = reopened(folder)
        return name, lambda x: logits(x) + 1e-3, encode

    monkeypatch.setattr(exporting, "reopened", wrong)
    with pytest.raises(CheckpointError, match=r"differ by 0\.001"):
        export_hf(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_inexpressible_model_is_refused_by_the_names_of_its_fields(tiny, tmp_path, capsys):
    train(tiny("model.pos=alibi", "model.logit_softcap=15"))
    assert main([str(tmp_path / "run"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pos=alibi" in error
    assert "logit_softcap=15" in error
    assert not (tmp_path / "out").exists()
    assert main([str(tmp_path / "run"), str(tmp_path / "out"), "--format", "safetensors", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {"out": str(tmp_path / "out"), "format": "safetensors", "largest_difference": 0.0}
    assert load(tmp_path / "out").generate("the", seed=1) == load(tmp_path / "run").generate("the", seed=1)


def test_a_folder_in_use_is_left_alone(tiny, tmp_path):
    run = train(tiny(*PLAIN))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export_hf(run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


UNICODE = st.text(alphabet=st.characters(exclude_categories=("Cs",)))
GENTLE = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@GENTLE
@given(vocabulary=UNICODE.filter(len), text=UNICODE)
def test_characters_have_the_same_tokens_in_tokenizer_json(tokenizers, vocabulary, text):
    ours = CharTokenizer.from_text(vocabulary, unknown="skip")
    theirs = tokenizers.Tokenizer.from_str(ours.tokenizer_json())
    assert theirs.encode(text + vocabulary).ids == ours.encode(text + vocabulary)
    assert theirs.decode(ours.encode(vocabulary)) == vocabulary


@GENTLE
@given(text=UNICODE)
def test_bytes_have_the_same_tokens_in_tokenizer_json(tokenizers, text):
    theirs = tokenizers.Tokenizer.from_str(ByteTokenizer().tokenizer_json())
    assert theirs.encode(text).ids == ByteTokenizer().encode(text)
    assert theirs.decode(ByteTokenizer().encode(text)) == text


@GENTLE
@given(text=UNICODE)
def test_subwords_have_the_same_tokens_in_tokenizer_json(tokenizers, text):
    ours = BPETokenizer.from_texts(["the cat sat on the mat and the dog"] * 3, 280)
    theirs = tokenizers.Tokenizer.from_str(ours.tokenizer_json())
    assert theirs.encode(text).ids == ours.encode(text)


def test_half_characters_cannot_be_expressed_and_are_named():
    with pytest.raises(UsageError, match=r"U\+D800"):
        CharTokenizer("a\ud800").tokenizer_json()


def test_every_character_of_unicode_is_its_own_token(tokenizers):
    letters = [chr(c) for c in itertools.chain(range(0xD800), range(0xE000, 0x11000))]
    ours = CharTokenizer(letters)
    theirs = tokenizers.Tokenizer.from_str(ours.tokenizer_json())
    assert theirs.encode("".join(letters)).ids == list(range(len(letters)))
