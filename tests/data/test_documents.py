"""Documents: how a source divides, which split each is in, and the tokens and windows that come of them."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microgpt.config import ConfigError
from microgpt.data import corpus as corpus_module
from microgpt.data.config import DataConfig
from microgpt.data.corpus import Corpus, prepare, read_text_ids
from microgpt.data.document_format import DocumentFormat, split
from microgpt.data.document_windows import DocumentWindows
from microgpt.data.documents import EncodedDocuments
from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, tokenizer_from_dict
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.data.windows import NOT_COUNTED
from microgpt.errors import CheckpointError, DataError, UsageError

LINES = DocumentFormat("lines")
NAMES = [f"{a}{b}{c}" for a in "kmtr" for b in ("a", "iu", "oo") for c in ("", "n", "ssel", "nde")]


def divided(form: DocumentFormat, *pieces: str) -> list[str]:
    return list(form.divided(pieces, "the file"))


def texts(encoded: EncodedDocuments) -> list[str]:
    """The documents that the tokens hold, each checked to stand between a start and an end."""
    assert isinstance(encoded.tokenizer, DocumentTokenizer)
    found = []
    for low, length in zip(encoded.starts.tolist(), encoded.lengths.tolist(), strict=True):
        ids = encoded.ids[low : low + length].tolist()
        assert (ids[0], ids[-1]) == (encoded.tokenizer.start, encoded.tokenizer.end)
        found.append(encoded.tokenizer.inner.decode(ids[1:-1]))
    return found


def documents(result: Corpus, name: str = "train") -> EncodedDocuments:
    encoded = result.splits[name]
    assert isinstance(encoded, EncodedDocuments)
    return encoded


def prepared(path: Path, **knobs: Any) -> Corpus:
    return prepare(DataConfig(path=str(path), **{"documents": "lines", "val_fraction": 0.0, **knobs}))


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@given(st.lists(st.text("ab<>\n", max_size=8), max_size=8), st.sampled_from(["\n", "<>", "a<>", "aa", "aab"]))
def test_pieces_split_like_the_whole_text(pieces: list[str], separator: str) -> None:
    assert list(split(pieces, separator)) == "".join(pieces).split(separator)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (LINES, "ann\r\nbo\r\n\r\n\ncy", ["ann", "bo", "cy"]),
        (LINES, "ann\u2028bo\x0c\n", ["ann\u2028bo\x0c"]),
        (LINES, "one huge document " * 9_000, ["one huge document " * 9_000]),
        (LINES, "", []),
        (DocumentFormat("files"), "ann\nbo\n", ["ann\nbo\n"]),
        (DocumentFormat("separator"), "a\nb\n<|endoftext|>\nc<|endoftext|><|endoftext|>\n", ["a\nb", "c"]),
        (DocumentFormat("separator", "\n\n"), "a\nb\n\n\n\nc\n", ["a\nb", "c"]),
        (DocumentFormat("jsonl"), '{"text": "a\\nb"}\r\n\n{"text": "", "n": 1}\n{"text": "c"}', ["a\nb", "c"]),
        (DocumentFormat("jsonl", jsonl_key="moves"), '{"moves": "e4 e5"}', ["e4 e5"]),
    ],
)
def test_what_a_document_is(form: DocumentFormat, text: str, expected: list[str]) -> None:
    assert divided(form, text) == expected
    assert divided(form, *text[:999]) == divided(form, text[:999])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"no JSON \(.* in the file, line 2; write one"),
        ("[" * 100_000, "no JSON .* in the file, line 2"),
        ("[1]", "no text at the key 'text' in the file, line 2; write an object with a string a line"),
        (
            '{"body": "x", "n": 3}',
            r"no text .* in the file, line 2; choose data.jsonl_key among \['body'\]",
        ),
        ('{"text": 5}', "no text at the key 'text'"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        divided(DocumentFormat("jsonl"), '{"text": "a"}\n' + line + "\n")


def test_every_document_is_in_one_split_whatever_their_order_in_the_file(names: Path) -> None:
    result = prepared(names, val_fraction=0.25, test_fraction=0.125)
    parts = {name: texts(documents(result, name)) for name in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [30, 12, 6]
    assert Counter(itertools.chain(*parts.values())) == Counter(NAMES)
    assert {name[0] for name in parts["val"]} == set("kmtr")  # a sorted file splits fairly
    for part in parts.values():
        assert part == [name for name in NAMES if name in part]  # in the order of the source
    again = prepared(names, val_fraction=0.25, test_fraction=0.125)
    assert [texts(documents(again, name)) for name in parts] == [*parts.values()]
    assert result.tokenizer.vocab_size == len(set("".join(NAMES))) + 2


def test_documents_of_several_files_never_join(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in {"a.txt": "ann\nbo", "b.txt": "cy\n", "c.txt": "\n\n"}.items():
        (folder / name).write_text(text)
    assert texts(documents(prepared(folder))) == ["ann", "bo", "cy"]
    assert texts(documents(prepared(folder, documents="files"))) == ["ann\nbo", "cy\n", "\n\n"]


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
@pytest.mark.parametrize("text", ["ann\nbo\n" * 40_000, "né\nb日\n" * 99, "no newline"])
def test_documents_come_back_from_their_tokens(tmp_path: Path, tokenizer: str, text: str, request: Any) -> None:
    if tokenizer == "bpe":
        request.getfixturevalue("tokenizers")
    path = tmp_path / "t.txt"
    path.write_text(text, encoding="utf-8")
    encoded = documents(prepared(path, tokenizer=tokenizer, vocab_size=260))
    expected = text.split("\n")[: 1 if "\n" not in text else -1]
    assert texts(encoded) == expected
    n_bytes, n_chars = len("".join(expected).encode()), len("".join(expected))
    scored = len(encoded.ids) - len(expected)  # ends, but no starts
    assert encoded.scored_tokens == scored
    assert encoded.bytes_per_token * scored == pytest.approx(n_bytes)
    assert encoded.chars_per_token * scored == pytest.approx(n_chars)


def test_the_cache_returns_the_same_tokens(names: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = prepared(names, val_fraction=0.25)
    monkeypatch.setattr(corpus_module, "CACHED_FROM", 0)
    monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path / "cache"))
    made, found = prepared(names, val_fraction=0.25), prepared(names, val_fraction=0.25)
    assert len(list((tmp_path / "cache" / "encoded").glob("*.ids"))) == 2
    for split_name in ("train", "val", "test"):
        for other in (made, found):
            assert torch.equal(plain.splits[split_name].ids, other.splits[split_name].ids)
    assert texts(documents(prepared(names, documents="files"))) == ["\n".join(NAMES)]  # the format is in the key


def test_unknown_characters_are_an_error_of_their_document_or_left_out(names: Path, tmp_path: Path) -> None:
    tokenizer = prepared(names).tokenizer
    other = tmp_path / "other.txt"
    other.write_text("kan\nxkiyu\n")
    with pytest.raises(DataError, match=r"characters outside the vocabulary: 'x' .* in .*other.txt, document 2"):
        read_text_ids(str(other), tokenizer)
    encoded = read_text_ids(str(other), tokenizer, unknown="skip")
    assert isinstance(encoded, EncodedDocuments)
    assert texts(encoded) == ["kan", "kiu"]
    assert encoded.unknown == {"x": 1, "y": 1}


@pytest.mark.parametrize(
    ("knobs", "text", "message"),
    [
        ({}, "\n\r\n\n", r"no document \(data.documents=lines\)"),
        ({"val_fraction": 0.5}, "ann", "no document to train on: there are 1 in all .*; take more documents, or"),
        ({"documents": "jsonl"}, "ann", r"no JSON .* in .*bad\.txt, line 1"),
        ({"tokenizer": "pretrained"}, "ann", "comes with a model"),
    ],
)
def test_what_is_no_corpus_is_one_clear_line(tmp_path: Path, knobs: Any, text: str, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises((DataError, UsageError), match=message):
        prepared(path, **knobs)


def test_an_empty_separator_and_a_model_without_boundaries_are_refused(names: Path) -> None:
    with pytest.raises(ConfigError, match="an empty separator"):
        DataConfig(separator="")
    with pytest.raises(UsageError, match="a model without tokens for a document's start and end"):
        prepare(DataConfig(path=str(names), documents="lines"), CharTokenizer.from_text("".join(NAMES)))


def test_the_tokenizer_survives_its_json_and_hides_its_two_tokens(names: Path) -> None:
    tokenizer = prepared(names, documents="separator", separator="\n").tokenizer
    assert isinstance(tokenizer, DocumentTokenizer)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert isinstance(again, DocumentTokenizer)
    assert (again, again.form) == (tokenizer, DocumentFormat("separator", "\n"))
    start, end, kan = tokenizer.start, tokenizer.end, tokenizer.encode("kan")
    assert (start, end) == (tokenizer.vocab_size - 2, tokenizer.vocab_size - 1)
    assert tokenizer.prompt("kan") == [start, *kan]
    assert tokenizer.end_tokens() == (end,)
    assert tokenizer.decode([start, *kan, end, start, *kan]) == "kan\nkan"
    assert tokenizer.decode([end]) == "\n"
    assert tokenizer.with_unknown("skip").encode("kXan") == kan


@pytest.mark.parametrize(
    "damage",
    [
        {"inner": None},
        {"inner": {"type": "documents", "format": 1}},
        {"inner": {"type": "nothing", "format": 1}},
        {"documents": None},
        {"documents": {"kind": "lines"}},
        {"documents": {"kind": "verses", "separator": "x", "jsonl_key": "t"}},
        {"documents": {"kind": "separator", "separator": "", "jsonl_key": "t"}},
        {"documents": {"kind": ["lines"], "separator": "x", "jsonl_key": "t"}},
    ],
)
def test_a_damaged_tokenizer_is_refused(damage: dict[str, Any]) -> None:
    values = DocumentTokenizer(ByteTokenizer(), LINES).to_dict()
    with pytest.raises(CheckpointError):
        tokenizer_from_dict({**values, **damage})


@pytest.mark.parametrize("inner", [CharTokenizer(" <>adenrst|"), ByteTokenizer()])
def test_tokenizers_library_sees_the_two_tokens(tokenizers: Any, inner: Any) -> None:
    tokenizer = DocumentTokenizer(inner, LINES)
    theirs = tokenizers.Tokenizer.from_str(tokenizer.tokenizer_json())
    assert theirs.get_vocab_size() == tokenizer.vocab_size
    assert theirs.encode("a tree<|end|>").ids == [*tokenizer.prompt("a tree"), tokenizer.end]
    assert theirs.encode("a tree", add_special_tokens=False).ids == tokenizer.encode("a tree")


@pytest.mark.parametrize("block_size", [3, 5, 64])
@pytest.mark.parametrize("sampling", ["shuffle", "random"])
def test_a_window_never_leaves_its_document_and_an_epoch_leaves_nothing_out(
    names: Path, block_size: int, sampling: Any
) -> None:
    encoded = documents(prepared(names))
    windows = DocumentWindows(encoded, block_size, batch_size=len(NAMES) * 4, seed=1, sampling=sampling)
    rows: list[list[int]] = []
    targets = Counter[str]()
    n = len(windows)
    windows.batch_size = n
    x, y = windows.batch(0)
    longest = max(map(len, NAMES)) + 1
    assert x.shape == y.shape == (n, min(block_size, longest))
    tokenizer = encoded.tokenizer
    assert isinstance(tokenizer, DocumentTokenizer)
    for inputs, outputs in zip(x.tolist(), y.tolist(), strict=True):
        kept = [token for token in outputs if token != NOT_COUNTED]
        assert outputs == kept + [NOT_COUNTED] * (len(outputs) - len(kept))
        assert tokenizer.start not in kept
        assert tokenizer.end not in kept[:-1]
        assert inputs[1 : len(kept)] == kept[:-1]
        assert tokenizer.start not in inputs[1 : len(kept)]
        rows.append(inputs)
        targets[tokenizer.inner.decode([t for t in [*inputs[:1], *kept] if t < tokenizer.start])] += 1
    if sampling == "shuffle":
        assert n == sum(-(-(len(name) + 1) // x.shape[1]) for name in NAMES)
        if block_size == 64:
            assert targets == Counter(NAMES)
        ends = sum(tokenizer.end in row for row in y.tolist())
        assert ends == len(NAMES)


def test_windows_take_a_vocabulary_beyond_256(names: Path) -> None:
    encoded = documents(prepared(names, tokenizer="bpe", vocab_size=270))
    assert encoded.tokenizer.dtype == np.uint16
    windows = DocumentWindows(encoded, 8, batch_size=16, seed=1)
    x, y = windows.batch(0)
    starts = windows.starts[windows._index(0, 16).numpy()]
    for row, target, start in zip(x, y, starts, strict=True):
        n = int((target != NOT_COUNTED).sum())
        assert row[:n].tolist() == encoded.ids[start : start + n].tolist()
        assert target[:n].tolist() == encoded.ids[start + 1 : start + n + 1].tolist()


@pytest.mark.parametrize(("world_size", "n_micro"), [(1, 1), (1, 4), (2, 2), (4, 1)])
def test_parts_of_a_batch_join_to_the_batch_and_weigh_as_its_targets(
    names: Path, world_size: int, n_micro: int
) -> None:
    windows = DocumentWindows(documents(prepared(names)), 8, batch_size=8, seed=3)
    for step in (0, 7):
        y = windows.batch(step)[1]
        values = torch.rand(y.shape, dtype=torch.float64)
        mean = float(values[y != NOT_COUNTED].mean())
        total, low, joined = 0.0, 0, []
        for rank in range(world_size):
            for micro in range(n_micro):
                part = windows.batch(step, rank, world_size, micro, n_micro)[1]
                weight = windows.weight(step, rank, world_size, micro, n_micro)
                assert weight is not None
                counted = part != NOT_COUNTED
                total += weight * float(values[low : low + len(part)][counted].mean()) / (world_size * n_micro)
                low += len(part)
                joined.append(part)
        assert torch.equal(torch.cat(joined), y)
        assert total == pytest.approx(mean, rel=1e-12)


def test_windows_across_documents_are_windows_of_the_stream(names: Path) -> None:
    config = DataConfig(path=str(names), documents="lines", document_windows="across", batch_size=4)
    result = prepare(config)
    x, y = result.windows(config, 8, seed=0).batch(0)
    assert np.array_equal(x[:, 1:], y[:, :-1])
    assert result.windows(config, 8, seed=0).weight(0, 0, 1, 0, 1) is None
