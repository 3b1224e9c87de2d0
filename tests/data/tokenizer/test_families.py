"""Every family of the `tokenizers` library: the characters counted are those of the text, and what is lost is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare, read_text_ids
from microgpt.data.encoded_text import utf8_bytes
from microgpt.data.tokenizer import HFTokenizer, tokenizer_from_dict
from microgpt.data.tokenizer.hf_format import ALPHABET
from microgpt.errors import DataError

pytestmark = pytest.mark.usefixtures("tokenizers")
SENTENCE = "the cat sat on the mat, and a dog ran up to the cat"
LETTERS = sorted(set(SENTENCE))
WORDS = sorted({*SENTENCE.replace(",", "").split()})
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WRITTEN = "abehot, \n\t日é\u0301ﬁİ<>end\u00a0\u2581Z9\0"
"""What random texts are made of: letters that all families know, and such as some do not."""


def numbered(*names: str) -> dict[str, int]:
    return {name: i for i, name in enumerate(dict.fromkeys(names))}


def bpe(library: Any, *more: str, **options: Any) -> Any:
    vocab = numbered(*more, *LETTERS, "th", "the")
    return library.Tokenizer(library.models.BPE(vocab, [("t", "h"), ("th", "e")], **options))


def byte_level(library: Any, letters: str = ALPHABET, **options: Any) -> Any:
    model = library.models.BPE(numbered(*letters, "th"), [("t", "h")])
    made = library.Tokenizer(model)
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})
    made.decoder = library.decoders.ByteLevel()
    return made


def unigram(library: Any, *more: str, unknown: int | None = 0, in_bytes: bool = False) -> Any:
    names = dict.fromkeys(["<unk>", *more, "\u2581", "\u2581the", *LETTERS])
    pieces = [(name, -1.0 - i / 100) for i, name in enumerate(names)]
    made = library.Tokenizer(library.models.Unigram(pieces, unknown, in_bytes))
    made.pre_tokenizer = library.pre_tokenizers.Metaspace()
    made.decoder = library.decoders.Metaspace()
    return made


def word_piece(library: Any, *more: str) -> Any:
    vocab = numbered(*more, *LETTERS, *(f"##{c}" for c in LETTERS))
    made = library.Tokenizer(library.models.WordPiece(vocab, unk_token="[UNK]"))
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    return made


def word_level(library: Any, *more: str) -> Any:
    made = library.Tokenizer(library.models.WordLevel(numbered(*more, *WORDS), unk_token="<unk>"))
    made.pre_tokenizer = library.pre_tokenizers.Whitespace()
    return made


FAMILIES: dict[str, Callable[[Any], Any]] = {
    "BPE that drops": bpe,
    "BPE with an unknown token": lambda t: bpe(t, "<unk>", unk_token="<unk>"),
    "BPE that fuses unknown ones": lambda t: bpe(t, "<unk>", unk_token="<unk>", fuse_unk=True),
    "BPE that fails": lambda t: bpe(t, unk_token="<unk>"),
    "BPE with byte fallback": lambda t: bpe(t, *BYTES, byte_fallback=True),
    "BPE with half a byte fallback": lambda t: bpe(t, *BYTES[:128], byte_fallback=True),
    "byte-level BPE": byte_level,
    "byte-level BPE, a space before": lambda t: byte_level(t, add_prefix_space=True),
    "byte-level BPE without all bytes": lambda t: byte_level(t, ALPHABET[:200]),
    "Unigram": unigram,
    "Unigram with byte fallback": lambda t: unigram(t, *BYTES, in_bytes=True),
    "Unigram that fails": lambda t: unigram(t, unknown=None),
    "WordPiece": lambda t: word_piece(t, "[UNK]"),
    "WordPiece that fails": word_piece,
    "WordLevel": lambda t: word_level(t, "<unk>"),
    "WordLevel that fails": word_level,
}
NORMALIZERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda n: None,
    "NFC": lambda n: n.NFC(),
    "NFKC": lambda n: n.NFKC(),
    "Lowercase": lambda n: n.Lowercase(),
    "Strip": lambda n: n.Strip(),
    "Prepend": lambda n: n.Prepend("a"),
    "BERT": lambda n: n.BertNormalizer(),
    "sentencepiece": lambda n: n.Sequence([n.NFKC(), n.Replace(" ", "\u2581")]),
}
ADDED = ("none", "special", "plain")


def built(library: Any, family: str, normalizer: str = "none", added: str = "none") -> HFTokenizer:
    backend = FAMILIES[family](library)
    if (part := NORMALIZERS[normalizer](library.normalizers)) is not None:
        backend.normalizer = part
    if added == "special":
        backend.add_special_tokens([library.AddedToken("<end>", lstrip=True, rstrip=True)])
    if added == "plain":
        backend.add_tokens(["a b", "日"])
    backend.enable_truncation(5)
    return HFTokenizer(backend.to_str())


def counted(tokenizer: HFTokenizer, text: str, folder: Path, unknown: str = "replace") -> Any:
    """The text read from a file, with the tokenizer."""
    path = folder / "text.txt"
    path.write_bytes(text.encode())
    return read_text_ids(str(path), tokenizer, unknown=unknown)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_characters_counted_are_those_of_the_text(
    tokenizers: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = [data.draw(st.sampled_from(list(table))) for table in (FAMILIES, NORMALIZERS, ADDED)]
    text = data.draw(st.text(WRITTEN, min_size=1, max_size=30)) + " the cat a"
    text = text.removeprefix("\ufeff")
    tokenizer = built(tokenizers, *names)
    unknown = data.draw(st.sampled_from(["skip", "replace"]))
    if not len(tokenizer.with_unknown(unknown).encode(text)):  # type: ignore[arg-type]
        with pytest.raises(DataError, match="no known character"):
            counted(tokenizer, text, tmp_path_factory.getbasetemp(), unknown)
        return
    whole = counted(tokenizer, text, tmp_path_factory.getbasetemp(), unknown)
    lost = dict(whole.unknown)
    assert all(text.count(c) >= n > 0 for c, n in lost.items())
    is_left_out = unknown == "skip" or tokenizer.with_unknown("replace").leaves_out_unknown
    left_out = lost if is_left_out else {}
    characters = len(text) - sum(left_out.values())
    n_bytes = len(text.encode()) - sum(len(c.encode()) * n for c, n in left_out.items())
    assert whole.chars_per_token == characters / len(whole.ids)
    assert whole.bytes_per_token == n_bytes / len(whole.ids)
    strict = tokenizer.with_unknown("error")
    if lost:
        with pytest.raises(DataError, match="outside the vocabulary"):
            strict.encode(text)
    else:
        assert strict.encode(text) == whole.ids.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_unknown_token_is_silent_in_no_family(tokenizers: Any, family: str, tmp_path: Path) -> None:
    """Against a list made by hand: which families know Chinese, and what `skip` leaves."""
    tokenizer, text = built(tokenizers, family), "the cat 日本 sat on the 日 mat"
    knows = family in (
        "BPE with byte fallback", "byte-level BPE", "byte-level BPE, a space before", "Unigram with byte fallback"
    )  # fmt: skip
    skipped = counted(tokenizer, text, tmp_path, "skip")
    assert dict(skipped.unknown) == ({} if knows else {"日": 2, "本": 1})
    if knows:
        return
    alone = tokenizer.with_unknown("error").encode("the cat")
    assert skipped.ids.tolist()[: len(alone)] == alone
    assert not {"<unk>", "[UNK]"} & {tokenizer.backend.id_to_token(i) for i in skipped.ids.tolist()}
    with pytest.raises(DataError, match=r"'日' U\+65E5, '本' U\+672C, the first at position 18"):
        tokenizer.encode_counted(text, where="here", offset=10)


def test_a_word_that_is_too_long_for_wordpiece_is_lost(tokenizers: Any) -> None:
    tokenizer = built(tokenizers, "WordPiece").with_unknown("skip")
    ids, unknown = tokenizer.encode_counted("the " + "a" * 101)
    assert (len(ids), dict(unknown)) == (3, {"a": 101})


def test_white_space_that_a_cut_stands_for_is_not_lost_but_a_letter_is(tokenizers: Any) -> None:
    tokenizer = built(tokenizers, "WordPiece", "BERT").with_unknown("skip")
    assert tokenizer.encode_counted("the  cat\n\n")[1] == {}
    assert tokenizer.encode_counted("the c\0at")[1] == {"\0": 1}
    assert tokenizer.encode_counted("thé cat")[1] == {}


def test_halves_of_characters_are_unknown(tokenizers: Any) -> None:
    tokenizer = built(tokenizers, "byte-level BPE")
    with pytest.raises(DataError, match=r"U\+DCFF, the first at position 3"):
        tokenizer.encode("the\udcff")
    ids, unknown = tokenizer.with_unknown("skip").encode_counted("the\udcff")
    assert (ids.tolist(), dict(unknown)) == (tokenizer.encode("the"), {"\udcff": 1})
    assert utf8_bytes("a\udcffé") == 6


def test_the_tokens_do_not_depend_on_chance(tokenizers: Any) -> None:
    tokenizer = HFTokenizer(bpe(tokenizers, dropout=0.5).to_str())
    assert {tuple(tokenizer.encode("the the the")) for _ in range(50)} == {tuple(tokenizer.encode("the the the"))}
    assert len(tokenizer.encode("the")) == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_long_text_in_pieces_has_the_tokens_of_the_whole(tokenizers: Any, data: st.DataObject) -> None:
    names = [data.draw(st.sampled_from(list(table))) for table in (FAMILIES, NORMALIZERS, ADDED)]
    tokenizer = built(tokenizers, *names).with_unknown("replace")
    words = st.lists(st.sampled_from([*WORDS, "日", "\n", " ", "<end>", "a b"]), min_size=3, max_size=12)
    text, more = " ".join(data.draw(words)), " ".join(data.draw(words))
    settled = tokenizer.settled(text)
    pieces = tokenizer.encode(text[:settled]) + tokenizer.encode((text + more)[settled:])
    assert pieces == tokenizer.encode(text + more)


def test_own_subwords_are_read_in_pieces(tokenizers: Any) -> None:
    """Without this, a large corpus would be encoded whole, in many times its size of memory."""
    assert built(tokenizers, "byte-level BPE").settled("the cat sat on the mat") == 18
    assert built(tokenizers, "byte-level BPE", "NFC").settled("the cat sat on the mat") == 18
    assert built(tokenizers, "byte-level BPE", "Strip").settled("the cat sat on the mat") == 0


def test_counts_and_sizes_are_kept_with_the_tokens(tokenizers: Any, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat é sat on the mat and the dog é ran up", encoding="utf-8")
    tokenizer = tokenizer_from_dict(json.loads(json.dumps(built(tokenizers, "Unigram").to_dict())))
    knobs = {"path": str(tmp_path / "text.txt"), "cache_dir": str(tmp_path / "cache"), "unknown": "replace"}
    first, again = (prepare(DataConfig(val_fraction=0.5, **knobs), tokenizer) for _ in range(2))  # type: ignore[arg-type]
    assert first.unknown == again.unknown == {"é": 2}
    for split in ("train", "val"):
        assert first.chars_per_token(split) == again.chars_per_token(split)
        assert round(again.chars_per_token(split) * len(again.splits[split])) in (22, 23)


def test_a_panic_of_the_library_is_an_error_of_the_text(tokenizers: Any) -> None:
    """The library slices a text inside a letter of two bytes, if an added token that is a single word stands before."""

    class PanicException(BaseException):  # what pyo3 raises, whose name is all that can be known of it
        pass

    class Failing:
        def encode(self, text: str, **options: Any) -> Any:
            raise PanicException("start byte index 7 is not a char boundary\x1b[2J")

    tokenizer = built(tokenizers, "Unigram")
    tokenizer.encode("the cat")
    vars(tokenizer._coverage)["_probe"] = Failing()
    with pytest.raises(DataError, match=r"the tokenizers library fails \(start byte index 7 .*newer version"):
        tokenizer.encode("the cat")


@pytest.mark.parametrize("family", ["byte-level BPE", "Unigram with byte fallback", "Unigram that fails"])
def test_what_a_pre_tokenizer_removes_is_lost(tokenizers: Any, family: str) -> None:
    backend = FAMILIES[family](tokenizers)
    cut = tokenizers.pre_tokenizers.Split("c", "removed")
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([cut, backend.pre_tokenizer])
    tokenizer = HFTokenizer(backend.to_str())
    assert tokenizer.with_unknown("skip").encode_counted("the cat cat")[1] == {"c": 2}


def test_bytes_do_not_save_unigram_without_an_unknown_token(tokenizers: Any) -> None:
    tokenizer = HFTokenizer(unigram(tokenizers, *BYTES, unknown=None, in_bytes=True).to_str())
    names = [tokenizer.backend.id_to_token(i) for i in tokenizer.encode("the 日")]
    assert names == ["\u2581the", "\u2581", "<0xE6>", "<0x97>", "<0xA5>"]
    assert tokenizer.with_unknown("skip").encode_counted("the 日")[1] == {}
