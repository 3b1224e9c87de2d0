"""Documents in the vocabulary of a pretrained model: its own tokens start and end them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.document_format import DocumentFormat
from microgpt.data.document_windows import DocumentWindows
from microgpt.data.documents import EncodedDocuments
from microgpt.data.tokenizer import HFTokenizer, tokenizer_from_dict
from microgpt.data.tokenizer.boundaries import boundaries
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.errors import CheckpointError, DataError, UsageError
from subwords import subwords

TEXTS = ["the cat sat", "the dog\nran", "a", "the cat and the dog ran to the tree", "é, naïve"]


def pretrained(*special: str) -> HFTokenizer:
    return subwords(TEXTS * 9, 290, *special)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def prepared(path: Path, tokenizer: HFTokenizer, **knobs: Any) -> EncodedDocuments:
    config = DataConfig(path=str(path), documents="jsonl", val_fraction=0.0, **knobs)
    train = prepare(config, tokenizer).splits["train"]
    assert isinstance(train, EncodedDocuments)
    return train


@pytest.mark.parametrize(
    ("special", "ends", "expected"),
    [
        (["<|endoftext|>"], [], (0, 0)),
        (["<|endoftext|>", "<|im_start|>", "<|im_end|>"], [2], (0, 0)),  # a chat's end of turn ends no document
        (["<s>", "</s>"], [1], (0, 1)),
        (["<pad>", "<eos>", "<bos>"], [], (2, 1)),
        (["<|end_of_text|>", "<|begin_of_text|>"], [], (1, 0)),
        (["<stop>"], [0], (0, 0)),
        (["<s>"], [], None),
        ([], [], None),
    ],
)
def test_a_pretrained_models_own_tokens_are_the_boundaries(
    special: list[str], ends: list[int], expected: tuple[int, int] | None
) -> None:
    assert boundaries(pretrained(*special).with_ends(ends)) == expected


@pytest.mark.parametrize("special", [["<|endoftext|>"], ["<s>", "</s>"]])
def test_documents_stand_between_them_one_by_one(path: Path, special: list[str]) -> None:
    tokenizer = pretrained(*special)
    start, end = 0, len(special) - 1
    documents = prepared(path, tokenizer)
    inner = [tokenizer.encode(text) for text in TEXTS]
    assert documents.ids.tolist() == [token for ids in inner for token in (start, *ids, end)]
    assert documents.lengths.tolist() == [len(ids) + 2 for ids in inner]
    assert documents.starts.tolist() == np.cumsum([0, *(len(ids) + 2 for ids in inner[:-1])]).tolist()
    assert documents.without_starts().tolist() == [token for ids in inner for token in (*ids, end)]
    assert documents.scored_tokens == sum(map(len, inner)) + len(TEXTS)
    assert documents.tokenizer.vocab_size == tokenizer.vocab_size
    assert documents.tokenizer.decode(documents.ids) == "\n".join(TEXTS) + "\n"
    assert documents.tokenizer.end_tokens() == (end,)
    windows = DocumentWindows(documents, 64, batch_size=len(TEXTS), seed=0, sampling="shuffle")
    x, y = windows.batch(0)
    assert (x[:, 0] == start).all()
    assert sorted(int((row >= 0).sum()) for row in y) == sorted(len(ids) + 1 for ids in inner)


@pytest.mark.parametrize("special", [["<|endoftext|>"], ["<s>", "</s>"]])
def test_the_text_of_tokens_has_a_line_feed_for_each_end(special: list[str]) -> None:
    tokenizer = pretrained(*special)
    start, end = 0, len(special) - 1
    wrapped = DocumentTokenizer(tokenizer, DocumentFormat("lines"), (start, end))
    a, b = tokenizer.encode("the cat"), tokenizer.encode("a dog")
    assert wrapped.prompt("the cat") == [start, *a]
    for ids, text in (
        ([], ""), ([start], ""), (a, "the cat"), ([start, *a], "the cat"), ([start, *a, end], "the cat\n"),
        ([start, *a, end, start, *b], "the cat\na dog"), ([start, end, start, *b, end], "\na dog\n"),
    ):  # fmt: skip
        assert wrapped.decode(ids) == text
    again = tokenizer_from_dict(json.loads(json.dumps(wrapped.to_dict())))
    assert isinstance(again, DocumentTokenizer)
    assert (again, again.boundaries, again.ends) == (wrapped, (start, end), (end,))
    odd: list[Any] = [[0], [0, 10**6], ["0", 1], {}, [True, 0], 7]
    for pair in odd:
        with pytest.raises(CheckpointError, match="boundaries"):
            tokenizer_from_dict({**wrapped.to_dict(), "boundaries": pair})


def test_a_document_that_spells_a_boundary_is_refused_by_its_number(path: Path) -> None:
    with path.open("a") as file:
        file.write(json.dumps({"text": "a <|endoftext|> b"}) + "\n")
    with pytest.raises(DataError, match=r"the text '<\|endoftext\|>', which .* document 6; .*separator"):
        prepared(path, pretrained("<|endoftext|>"))
    # A chat's turns are text, also to a model whose own texts end at the end of a turn.
    with path.open("w") as file:
        file.write(json.dumps({"text": "<|im_start|>user<|im_end|>"}) + "\n")
    chat = pretrained("<|endoftext|>", "<|im_start|>", "<|im_end|>").with_ends([2])
    documents = prepared(path, chat)
    assert documents.ids.tolist() == [0, 1, *chat.encode("user"), 2, 0]
    assert documents.tokenizer.end_tokens() == (0, 2)


def test_without_such_tokens_documents_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="a model without tokens for a document's start and end"):
        prepared(path, pretrained("<pad>"))
