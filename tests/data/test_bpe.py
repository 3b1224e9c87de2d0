"""Subwords: learnt from the training split alone, cached, every text comes back, lengths that make bits comparable."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare, read_text_ids
from microgpt.data.tokenizer import BPETokenizer, CharTokenizer, HFTokenizer, tokenizer_from_dict
from microgpt.data.tokenizer.hf_format import ALPHABET
from microgpt.errors import CheckpointError, DataError, MachineError, UsageError

TEXT = "The cat sat on the mat, and the cat's hat — naïve café 日本語 🎩 — lay on the mat.\r\n\tSo there! " * 40
pytestmark = pytest.mark.usefixtures("tokenizers")


@pytest.fixture(scope="module")
def bpe(tokenizers: Any) -> BPETokenizer:
    return BPETokenizer.from_texts([TEXT], 300)


def characters_alone(tokenizers: Any, text: str, unk: str | None = None) -> str:
    """A tokenizer of the library that is no byte-level one."""
    vocab = {c: i for i, c in enumerate(sorted(set(text)))}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], unk_token=unk))
    backend.decoder = tokenizers.decoders.Fuse()
    return backend.to_str()


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_comes_back(bpe: BPETokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab 'sé日\n\r\t.,1"), st.text(alphabet="ab 'sé日\n\r\t.,1"))
def test_what_is_settled_does_not_change_with_what_follows(bpe: BPETokenizer, text: str, more: str) -> None:
    settled = bpe.settled(text)
    whole = bpe.encode(text + more)
    assert bpe.encode(text[:settled]) + bpe.encode((text + more)[settled:]) == whole


def test_the_vocabulary_has_the_size_asked_for_and_every_byte(bpe: BPETokenizer) -> None:
    assert bpe.vocab_size == 300
    assert {bpe.backend.token_to_id(c) for c in ALPHABET} == set(range(256))
    assert bpe.encode_array(TEXT).dtype == np.uint16
    assert len(bpe.encode(TEXT)) < len(TEXT) / 2
    assert BPETokenizer.from_texts([TEXT], 300) == bpe


def test_it_is_read_back_from_its_json(bpe: BPETokenizer) -> None:
    again = tokenizer_from_dict(json.loads(json.dumps(bpe.to_dict())))
    assert type(again) is BPETokenizer
    assert again == bpe
    assert again.encode(TEXT) == bpe.encode(TEXT)


def test_it_learns_from_the_training_split_alone(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    train = "low lower lowest " * 90
    path.write_text(train + "zyx" * len(train[:170]))  # the last quarter has other words
    config = DataConfig(path=str(path), tokenizer="bpe", vocab_size=300, val_fraction=0.25)
    corpus = prepare(config)
    assert corpus.tokenizer.backend.token_to_id("zy") is None  # type: ignore[attr-defined]
    assert corpus.tokenizer.backend.token_to_id("\u0120lowest") is not None  # type: ignore[attr-defined]
    assert corpus.tokenizer == BPETokenizer.from_texts([path.read_text()[: len(path.read_text()) * 3 // 4]], 300)


def test_the_splits_are_the_same_text_as_those_of_characters(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, newline="")
    splits = {}
    for kind in ("char", "bpe"):
        config = DataConfig(path=str(path), tokenizer=kind, vocab_size=300, val_fraction=0.1, test_fraction=0.05)
        corpus = prepare(config)
        splits[kind] = [corpus.tokenizer.decode(corpus.splits[s].ids) for s in ("train", "val", "test")]
        for split in ("train", "val", "test"):
            characters = corpus.chars_per_token(split) * len(corpus.splits[split])
            assert characters == pytest.approx(len(corpus.tokenizer.decode(corpus.splits[split].ids)))
    # A split may cut through a character's bytes nowhere: both hold whole characters, and the same.
    assert splits["bpe"] == splits["char"]
    assert "".join(splits["char"]) == TEXT


def test_it_and_its_tokens_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    config = DataConfig(path=str(path), tokenizer="bpe", vocab_size=300, cache_dir=str(tmp_path / "cache"))
    first = prepare(config)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(BPETokenizer, "from_texts", fail)
    monkeypatch.setattr(BPETokenizer, "encode_counted", fail)
    again = prepare(config)
    assert again.tokenizer == first.tokenizer
    assert all(again.splits[s].ids.tolist() == first.splits[s].ids.tolist() for s in first.splits)
    with pytest.raises(AssertionError, match="made anew"):
        prepare(DataConfig(path=str(path), tokenizer="bpe", vocab_size=301, cache_dir=str(tmp_path / "cache")))


def test_a_text_without_validation_split_is_read_whole(tmp_path: Path, bpe: BPETokenizer) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, newline="")
    text = read_text_ids(str(path), bpe)
    assert bpe.decode(text.ids) == TEXT
    assert text.bytes_per_token == pytest.approx(len(TEXT.encode()) / len(text.ids))


def test_long_texts_in_pieces_have_the_tokens_of_the_whole(
    tmp_path: Path, bpe: BPETokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microgpt.data.sources.CHUNK", 1000)
    path = tmp_path / "text.txt"
    path.write_text(TEXT, newline="")
    assert read_text_ids(str(path), bpe).ids.tolist() == bpe.encode(TEXT)


def test_characters_without_a_token_are_errors_or_counted(tokenizers: Any) -> None:
    tokenizer = HFTokenizer(characters_alone(tokenizers, "abc "))
    assert tokenizer.encode("a cab") == CharTokenizer(" abc").encode("a cab")
    with pytest.raises(DataError, match=r"'z' U\+007A.*position 12"):
        tokenizer.encode_counted("abz", where="here", offset=10)
    ids, unknown = tokenizer.with_unknown("skip").encode_counted("abzaz")
    assert (len(ids), dict(unknown)) == (3, {"z": 2})
    stray = HFTokenizer(characters_alone(tokenizers, "abc?", unk="?")).with_unknown("skip")
    assert dict(stray.encode_counted("azb")[1]) == {"z": 1}


def test_a_padded_vocabulary_keeps_its_size_and_its_padding_is_no_text(tokenizers: Any) -> None:
    tokenizer = HFTokenizer(characters_alone(tokenizers, "abc"), size=8)
    assert tokenizer.vocab_size == 8
    assert tokenizer.decode([0, 7, 1]) == "ab"
    with pytest.raises(CheckpointError, match="3 tokens for a vocabulary of 2"):
        HFTokenizer(characters_alone(tokenizers, "abc"), size=2)


def test_special_tokens_count_by_their_text(tokenizers: Any, bpe: BPETokenizer, tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer.from_str(bpe.text)
    backend.add_special_tokens(["<|end|>"])
    backend.enable_truncation(4)
    tokenizer = HFTokenizer(backend.to_str())
    assert tokenizer.vocab_size == bpe.vocab_size + 1
    ids = tokenizer.encode("on the mat<|end|>the cat sat on the mat")
    assert ids.count(300) == 1
    assert tokenizer.decode(ids) == "on the mat<|end|>the cat sat on the mat"
    (tmp_path / "text.txt").write_text("on the mat<|end|>", encoding="utf-8")
    text = read_text_ids(str(tmp_path / "text.txt"), tokenizer)
    assert text.chars_per_token * len(text) == text.bytes_per_token * len(text) == 17


@pytest.mark.parametrize(
    "values",
    [
        {"json": "{}", "size": 3},
        {"json": "[" * 100_000, "size": 3},
        {"json": 3, "size": 3},
        {"json": '{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "size": 3},
        {"size": 3},
    ],
)
def test_a_damaged_one_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        tokenizer_from_dict({"type": "hf", "format": 1, **values})


@pytest.mark.parametrize("size", [0, -1, "3", 1.5, 10**12, True, None])
def test_a_size_that_cannot_be_is_refused(bpe: BPETokenizer, size: int) -> None:
    with pytest.raises(CheckpointError):
        tokenizer_from_dict({"type": "bpe", "format": 1, "json": bpe.text, "size": size})


def test_without_the_package_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bpe: BPETokenizer
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MachineError, match=r"pip install 'microgpt\[hf\]'"):
        tokenizer_from_dict(bpe.to_dict())


def test_a_pretrained_tokenizer_comes_with_a_model(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    with pytest.raises(UsageError, match=r"model.pretrained"):
        prepare(DataConfig(path=str(path), tokenizer="pretrained"))


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        HFTokenizer.from_file(tmp_path / "tokenizer.json")
