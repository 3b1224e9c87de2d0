"""Tokenizers: what they promise about every text, and what they refuse."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer, tokenizer_from_dict
from microgpt.errors import CheckpointError, DataError, UsageError

TEXTS = [
    "a",
    "hello, world\n",
    "line\r\nline\rline\n",
    "nul \0 inside",
    "emoji 👩‍👩‍👧‍👦 flags 🇳🇱",
    "combining e\u0301 versus \xe9",
    "Ελληνικά русский 日本語 العربية",
    "\ufeffbom kept",
    "".join(map(chr, range(300))),
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", [CharTokenizer.from_text, lambda _: ByteTokenizer()])
def test_every_text_comes_back(text: str, kind: Callable[[str], Tokenizer]) -> None:
    tokenizer = kind(text)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(type(i) is int and 0 <= i < tokenizer.vocab_size for i in ids)
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again == tokenizer
    assert again.encode(text) == ids
    assert tokenizer_from_dict(tokenizer.to_dict(), unknown="skip").unknown == "skip"


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1), st.text())
@example("\ude00\ud83d\ude00", "")
@example("\ud83d\U0001f600\ude00", "\0")
def test_any_python_string_round_trips_in_characters(text: str, other: str) -> None:
    tokenizer = CharTokenizer.from_text(text + other)  # lone surrogates are among the texts
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict()))).characters == tokenizer.characters  # type: ignore[attr-defined]
    json.dumps(tokenizer.to_dict(), ensure_ascii=False).encode("utf-8")  # the file may be written in UTF-8


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_round_trips_in_bytes(text: str) -> None:
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


def test_characters_are_the_sorted_code_points() -> None:
    tokenizer = CharTokenizer.from_text("b\u00e9a\U0001f600b")
    assert tokenizer.characters == ("a", "b", "\u00e9", "\U0001f600")
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("ab\u00e9\U0001f600") == [0, 1, 2, 3]


def test_encode_array_is_the_smallest_integer_type() -> None:
    def dtype(n: int) -> np.dtype[Any]:
        return CharTokenizer([chr(0x10000 + i) for i in range(n)]).encode_array(chr(0x10000)).dtype

    assert dtype(1) == dtype(256) == np.uint8
    assert dtype(257) == np.uint16
    assert dtype(65_536) == np.uint16
    assert dtype(65_537) == np.uint32
    assert ByteTokenizer().encode_array("a").dtype == np.uint8


def test_vocabulary_over_65535_does_not_wrap() -> None:
    characters = [chr(0x10000 + i) for i in range(70_000)]
    tokenizer = CharTokenizer(characters)
    assert tokenizer.encode(characters[69_999] + characters[65_536]) == [69_999, 65_536]
    assert tokenizer.decode([69_999]) == characters[69_999]


def test_vocabulary_of_exactly_256_has_room_for_unknown() -> None:
    tokenizer = CharTokenizer([chr(i) for i in range(256)], unknown="skip")
    assert tokenizer.encode("\xff\u0100a") == [255, 97]
    assert tokenizer.encode("a") == [97]


def test_encoded_array_may_be_written() -> None:
    for tokenizer in (CharTokenizer.from_text("ab\u00e9"), ByteTokenizer()):
        for text in ("ab", "\u00e9" if tokenizer.vocab_size == 3 else "\u20ac"):
            tokenizer.encode_array(text)[0] = 1
    assert CharTokenizer.from_text("a").encode("") == []
    assert ByteTokenizer().decode([]) == ""


@pytest.mark.parametrize("make", [list, np.array, torch.tensor, lambda ids: torch.tensor(ids, dtype=torch.uint8)])
def test_decode_takes_lists_arrays_and_tensors(make: Any) -> None:
    assert CharTokenizer.from_text("abc").decode(make([2, 0, 1])) == "cab"
    assert ByteTokenizer().decode(make([0x61, 0x62])) == "ab"


@pytest.mark.parametrize("ids", [[3], [-1], [0, 99]])
def test_decode_refuses_an_index_outside_the_vocabulary(ids: list[int]) -> None:
    with pytest.raises(DataError, match=f"index {ids[-1]} .* 0 to 2"):
        CharTokenizer.from_text("abc").decode(ids)


def test_decode_refuses_what_is_no_index() -> None:
    with pytest.raises(DataError, match="indices of type float64"):
        CharTokenizer.from_text("abc").decode([0.5])


def test_unknown_characters_are_named_with_the_first_position() -> None:
    with pytest.raises(DataError) as error:
        CharTokenizer.from_text("abc").encode("abx\u20ac\n12345x")
    message = str(error.value)
    assert "'x' U+0078, '€' U+20AC, '\\n' U+000A, '1' U+0031, '2' U+0032 and 3 more" in message
    assert "position 2" in message
    assert "\n" not in message
    with pytest.raises(
        DataError, match=r"character outside the vocabulary: '\\ud800' U\+D800, the first at position 0"
    ):
        CharTokenizer.from_text("abc").encode("\ud800")


@pytest.mark.parametrize("filler", ["", "\u20ac"])  # the ASCII path and the other
def test_unknown_characters_are_skipped_or_replaced_and_counted(filler: str) -> None:
    vocabulary = "abc ?" + filler
    skip = CharTokenizer.from_text(vocabulary, unknown="skip")
    ids, unknown = skip.encode_counted("axbyx" + filler)
    assert skip.decode(ids) == "ab" + filler
    assert unknown == {"x": 2, "y": 1}
    replace = skip.with_unknown("replace")
    assert replace.decode(replace.encode("axb" + filler)) == "a?b" + filler
    assert skip.unknown == "skip"
    assert CharTokenizer("ab", unknown="replace").encode("xb") == [0, 1]


def test_lone_surrogates_never_crash_bytes() -> None:
    assert ByteTokenizer().decode(ByteTokenizer().encode("a\ud800b")) == "a" + "\ufffd" * 3 + "b"
    assert ByteTokenizer().encode("\udcff") == [255]


def test_lengths_count_bytes_and_characters() -> None:
    text = "a\u00e9\u20ac\U0001f600"
    for tokenizer in (CharTokenizer.from_text(text), ByteTokenizer()):
        n_bytes, n_chars = tokenizer.token_lengths()
        ids = tokenizer.encode(text)
        assert n_bytes[ids].sum() == 1 + 2 + 3 + 4
        assert n_chars[ids].sum() == 4


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {"type": "char"},
        {"type": "char", "format": 2, "characters": ["a"]},
        {"type": "char", "format": True, "characters": ["a"]},
        {"type": "nope", "format": 1},
        {"type": ["char"], "format": 1},
        {"type": "char", "format": 1},
        {"type": "char", "format": 1, "characters": []},
        {"type": "char", "format": 1, "characters": "abc"},
        {"type": "char", "format": 1, "characters": ["a", "a"]},
        {"type": "char", "format": 1, "characters": ["a", "U+0061"]},
        {"type": "char", "format": 1, "characters": ["ab"]},
        {"type": "char", "format": 1, "characters": [""]},
        {"type": "char", "format": 1, "characters": [1]},
        {"type": "char", "format": 1, "characters": [None]},
        {"type": "char", "format": 1, "characters": ["U+110000"]},
        {"type": "char", "format": 1, "characters": ["U+ 061"]},
        {"type": "char", "format": 1, "characters": ["U+00_61"]},
        {"type": "char", "format": 1, "characters": ["a"] * (sys.maxunicode + 2)},
    ],
)
def test_a_malformed_description_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError) as error:
        tokenizer_from_dict(values)
    assert len(str(error.value)) < 200


def test_a_third_tokenizer_fits_the_one_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tokenizer, "members", dict(Tokenizer.members))

    class Rotated(ByteTokenizer, name="rotated"):
        pass

    again = tokenizer_from_dict(Rotated().to_dict())
    assert type(again) is Rotated


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'skip'"):
        ByteTokenizer(unknown="skipp")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no characters"):
        CharTokenizer.from_text("")
    with pytest.raises(DataError, match="twice"):
        CharTokenizer(["a", "a"])
