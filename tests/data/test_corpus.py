"""From a file to three splits: what is read, what is refused, what is kept."""

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microgpt import files
from microgpt.config import ConfigError
from microgpt.data import cache, corpus, sources
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare, read_text_ids
from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer
from microgpt.data.tokenizer.base import Tokenizer
from microgpt.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGPT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(data: Any, name: str = "text.txt") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return write


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every text is cached, however small; returns the folder of the entries."""
    monkeypatch.setattr(corpus, "CACHED_FROM", 0)
    return Path(os.environ["MICROGPT_CACHE"], "encoded")


def text_of(path: str | Path, **knobs: Any) -> str:
    result = prepare(DataConfig(path=str(path), val_fraction=0.0, **knobs))
    return result.tokenizer.decode(result.train)


def test_the_manual_needs_no_download() -> None:
    result = prepare(DataConfig())
    assert result.name == "manual"
    assert len(result.train) > 300_000
    assert "statement" in result.tokenizer.decode(result.train)
    assert result.train.dtype == torch.uint8


def test_splits_follow_each_other_and_leave_nothing_out(write: Callable[..., str]) -> None:
    text = "0123456789" * 10
    result = prepare(DataConfig(path=write(text), val_fraction=0.2, test_fraction=0.1))
    assert [len(part) for part in (result.train, result.val, result.test)] == [70, 20, 10]
    assert "".join(result.tokenizer.decode(part) for part in (result.train, result.val, result.test)) == text


def test_split_sizes_are_the_customary_ones() -> None:
    assert corpus.split_bounds(1_115_394, 0.1, 0.0)[1] == 1_003_854  # int(n * 0.9), as nanoGPT splits it
    assert corpus.split_bounds(100_000_000, 0.05, 0.05) == (0, 90_000_000, 95_000_000, 100_000_000)


def test_splits_may_be_empty(write: Callable[..., str]) -> None:
    result = prepare(DataConfig(path=write("abc"), val_fraction=0.0))
    assert (len(result.train), len(result.val), len(result.test)) == (3, 0, 0)
    assert result.chars_per_token("val") == 0


def test_hash_is_of_the_bytes_of_the_file(write: Callable[..., str]) -> None:
    data = b"\xef\xbb\xbfh\xc3\xa9llo\r\n"
    assert prepare(DataConfig(path=write(data))).sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\rc\n", "a\r\nb\rc\n"),
        (b"\xef\xbb\xbfbom", "bom"),
        (b"\xef\xbb\xbf\xef\xbb\xbftwo", "\ufefftwo"),
        (b"nul\0nul", "nul\0nul"),
        ("👩‍👩‍👧 e\u0301".encode(), "👩‍👩‍👧 e\u0301"),
    ],
)
@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_text_is_read_as_it_stands(write: Callable[..., str], data: Any, text: str, tokenizer: Tokenizer) -> None:
    assert text_of(write(data), tokenizer=tokenizer) == text


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis", "gb18030"])
@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_other_encodings_are_read_by_name(write: Callable[..., str], encoding: str, tokenizer: Tokenizer) -> None:
    text = "caf\u00e9\r\n" if encoding in ("latin-1", "cp1252") else "\u65e5\u672c\r\n"
    assert text_of(write(text.encode(encoding)), encoding=encoding, tokenizer=tokenizer) == text


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1).filter(lambda t: t.lstrip("\ufeff")), chunk=st.integers(1, 7), byte=st.booleans())
def test_pieces_of_any_size_read_the_same_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, chunk: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "text"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one unique character
        patch.setattr(sources, "CHUNK", chunk)
        assert text_of(path, tokenizer="byte" if byte else "char") == text.removeprefix("\ufeff")


@pytest.mark.parametrize("chunk", [1, 2, 3, 1 << 20])
def test_undecodable_byte_is_named_by_its_offset_and_option(
    write: Callable[..., str], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK", chunk)
    path = write("\u20ac".encode() * 5 + b"caf\xe9 au lait")
    with pytest.raises(DataError) as error:
        prepare(DataConfig(path=path))
    assert f"byte 0xe9 at offset 18 is not utf-8 (invalid continuation byte) in {path}; " in str(error.value)
    assert "data.encoding=latin-1" in str(error.value)
    assert text_of(path, encoding="latin-1").endswith("caf\xe9 au lait")


def test_text_that_ends_inside_a_character_is_refused(write: Callable[..., str]) -> None:
    with pytest.raises(DataError, match="byte 0xe2 at offset 2 is not utf-8"):
        prepare(DataConfig(path=write(b"ab\xe2\x82")))


def test_utf_16_without_a_mark_is_told_from_the_other_byte_order(write: Callable[..., str]) -> None:
    with pytest.raises(DataError, match=r"does not start with BOM.*data\.encoding=utf-16-le"):
        prepare(DataConfig(path=write("ab".encode("utf-16-le")), encoding="utf-16"))


def test_bytes_that_are_no_text_are_learnt_as_bytes(write: Callable[..., str]) -> None:
    data = bytes(range(256)) * 3
    result = prepare(DataConfig(path=write(data), tokenizer="byte", val_fraction=0.0))
    assert result.train.numpy().tobytes() == data


def test_folder_is_its_text_files_in_order(write: Callable[..., str], tmp_path: Path) -> None:
    write("second,", "b.txt")
    write("first,", "a.md")
    write("third", "c/no_suffix")
    write("hidden", ".hidden")
    write("hidden", ".git/config")
    write(b"binary\0", "d.dat")
    write("not a text", "a.PNG")
    write("", "empty.txt")
    result = prepare(DataConfig(path=str(tmp_path), val_fraction=0.0))
    assert result.tokenizer.decode(result.train) == "first,second,third"


def test_only_the_very_first_mark_of_a_file_goes(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CHUNK", 4)
    assert text_of(write("abcd\ufeffe")) == "abcd\ufeffe"


def test_each_file_of_a_folder_may_have_its_own_mark(write: Callable[..., str], tmp_path: Path) -> None:
    write(b"\xef\xbb\xbfone,", "1")
    write(b"\xef\xbb\xbftwo", "2")
    assert text_of(tmp_path) == "one,two"


def test_glob_is_its_matches_in_order(write: Callable[..., str], tmp_path: Path) -> None:
    write("b", "x/b.txt")
    write("a", "a.txt")
    write("c", "c.md")
    assert text_of(tmp_path / "**/*.txt") == "ab"
    assert text_of(write("literal", "[a].txt")) == "literal"


def test_folder_of_utf_16_is_read(write: Callable[..., str], tmp_path: Path) -> None:
    write("ab".encode("utf-16"), "1.txt")
    assert text_of(tmp_path, encoding="utf-16") == "ab"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sonets.txt", r"no such file or folder: .*/sonets.txt; did you mean '.*/sonnets.txt'\?"),
        ("missing/text", r"no such file or folder: .* its folder is missing too"),
        ("nothing*.txt", "no text file matches in .*nothing"),
        ("folder", "no text file in .*folder; name a folder that holds texts"),
        ("empty.txt", "an empty text in .*empty.txt"),
        ("bom.txt", "an empty text in .*bom.txt"),
        ("a\0b", r"no such file or folder: /.*a\\x00b;"),
        ("x" * 300, "File name too long"),
        ("~nobody-of-this-name/x", "cannot read: Could not determine home directory"),
    ],
)
def test_what_is_no_text_is_refused_with_a_fix(
    write: Callable[..., str], tmp_path: Path, name: str, message: str
) -> None:
    write("text", "sonnets.txt")
    write("", "empty.txt")
    write(b"\xef\xbb\xbf", "bom.txt")
    write(b"\0", "folder/binary")
    with pytest.raises(DataError, match=message) as error:
        prepare(DataConfig(path=name if name.startswith("~") else str(tmp_path / name)))
    assert str(error.value).isprintable()


def test_device_files_are_refused() -> None:
    with pytest.raises(DataError, match="neither a file nor a folder"):
        prepare(DataConfig(path="/dev/zero"))


def test_unreadable_file_is_refused(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("text")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=f"cannot read: Permission denied in {path}; check the path"):
        prepare(DataConfig(path=path))


def test_one_unique_character_warns_and_works(write: Callable[..., str]) -> None:
    with pytest.warns(UserWarning, match="one unique character"):
        result = prepare(DataConfig(path=write("aaaa")))
    assert result.tokenizer.vocab_size == 1


def test_one_very_long_line_is_read(write: Callable[..., str]) -> None:
    assert len(prepare(DataConfig(path=write(b"ab" * 1_500_000), val_fraction=0.0)).train) == 3_000_000


def test_vocabulary_over_65535_keeps_every_character(write: Callable[..., str]) -> None:
    text = "".join(chr(0x10000 + i) for i in range(70_000))
    result = prepare(DataConfig(path=write(text), val_fraction=0.0))
    assert result.train.dtype == torch.int32
    assert result.tokenizer.decode(result.train) == text


def test_a_models_own_tokenizer_encodes_another_text(write: Callable[..., str]) -> None:
    path, tokenizer = write("abcx\u20acx"), CharTokenizer.from_text("abc?")
    with pytest.raises(DataError, match=rf"'x' U\+0078, '€' U\+20AC, the first at position 3 in {path}"):
        read_text_ids(path, tokenizer)
    skipped = read_text_ids(path, tokenizer, unknown="skip")
    assert skipped.unknown == {"x": 2, "\u20ac": 1}
    assert tokenizer.decode(skipped.ids) == "abc"
    assert prepare(DataConfig(path=path, unknown="replace"), tokenizer).unknown == {"x": 2, "\u20ac": 1}
    with pytest.raises(DataError, match="no known character"):
        read_text_ids(write("xyz"), tokenizer, unknown="skip")
    with pytest.raises(ConfigError, match="unknown encoding 'utf9'; did you mean 'utf-8'"):
        read_text_ids(path, tokenizer, encoding="utf9")


def test_position_of_an_unknown_character_counts_from_the_texts_start(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "CHUNK", 4)
    with pytest.raises(DataError, match="position 10"):
        read_text_ids(write("\u00e9" * 10 + "x"), CharTokenizer.from_text("\u00e9"))


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_lengths_of_a_split_turn_nats_into_bits(write: Callable[..., str], tokenizer: Tokenizer) -> None:
    result = prepare(
        DataConfig(path=write("aaaaa\u20ac\u20ac\u20ac\u00e9\u00e9"), tokenizer=tokenizer, val_fraction=0.5)  # type: ignore[arg-type]
    )
    ids, text = result.val, result.tokenizer.decode(result.val)
    if tokenizer == "char":
        assert result.splits["val"].bytes_per_token == len(text.encode()) / len(text) == 13 / 5
        assert result.chars_per_token("val") == 1
        assert result.splits["train"].bytes_per_token == 1
    else:
        assert result.splits["val"].bytes_per_token == 1
        assert result.chars_per_token("train") * len(result.train) + result.chars_per_token("val") * len(ids) == 10


def test_pieces_end_where_a_tokenizer_lets_them(write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Words(ByteTokenizer):
        def settled(self, text: str) -> int:
            return text.rfind(" ") + 1

        def encode_counted(self, text: str, **place: Any) -> Any:
            seen.append(text)
            return super().encode_counted(text, **place)

    seen: list[Any] = []
    monkeypatch.setattr(sources, "CHUNK", 5)
    text = "to be or not to be"
    assert ByteTokenizer().decode(read_text_ids(write(text), Words()).ids) == text
    assert len(seen) > 3
    assert all(piece.endswith(" ") for piece in seen[:-1])
    assert seen[-1] == "be"


def test_encoded_text_is_kept_and_found_again(
    write: Callable[..., str], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("hello \u20ac world")
    first = prepare(DataConfig(path=path))
    assert sorted(p.suffix for p in kept.iterdir()) == [".ids", ".json", ".json"]
    for work in ("fit", "encode_counted"):
        monkeypatch.setattr(CharTokenizer, work, lambda *_, **__: pytest.fail("done again"))
    again = prepare(DataConfig(path=path))
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.val, again.val)
    assert first.tokenizer == again.tokenizer
    resumed = prepare(DataConfig(path=path), first.tokenizer)
    assert torch.equal(first.train, resumed.train)


def test_policy_for_unknown_characters_is_not_kept_with_the_vocabulary(write: Callable[..., str], kept: Path) -> None:
    path = write("abc")
    assert [prepare(DataConfig(path=path, unknown=u)).tokenizer.unknown for u in ("error", "skip")] == ["error", "skip"]


def test_kept_text_is_not_confused_with_another(write: Callable[..., str], kept: Path) -> None:
    path = write("abcabc")
    assert text_of(path) == "abcabc"
    write("cbacbb")
    assert text_of(path) == "cbacbb"
    assert text_of(path, tokenizer="byte") == "cbacbb"
    assert text_of(path, encoding="utf-16-le") == b"cbacbb".decode("utf-16-le")
    write(b"a", "one/1")
    write(b"\xef\xbb\xbfb", "one/2")  # the same bytes, with a mark that goes
    assert text_of(write(b"a\xef\xbb\xbfb", "two/1")) == "a\ufeffb"
    assert text_of(Path(path).parent / "one") == "ab"
    skipping = CharTokenizer.from_text("ab")
    assert read_text_ids(path, skipping, unknown="skip").ids.tolist() == [1, 0, 1, 1]
    again = read_text_ids(path, skipping, unknown="replace")
    assert again.ids.tolist() == [0, 1, 0, 0, 1, 1]
    assert again.unknown == {"c": 2}
    assert read_text_ids(path, skipping, unknown="skip").unknown == {"c": 2}


@pytest.mark.parametrize("damage", ["flip", "truncate", "json", "tokenizer"])
def test_damaged_entry_is_made_anew(write: Callable[..., str], kept: Path, damage: Any) -> None:
    path = write("hello world" * 100)
    whole = prepare(DataConfig(path=path)).train.tolist()
    (ids,) = kept.glob("*.ids")
    (tokenizer,) = kept.glob("*.tokenizer.json")
    (facts,) = (p for p in kept.glob("*.json") if p != tokenizer)
    if damage == "flip":
        ids.write_bytes(b"\7" + ids.read_bytes()[1:])
    elif damage == "truncate":
        ids.write_bytes(ids.read_bytes()[:-1])
    elif damage == "json":
        facts.write_text('{"crc32": [], "unknown": {"9999999999": 1}}')
    else:
        tokenizer.write_text('{"type": "char", "format": 1, "characters": ["a", "a"]}')
    assert prepare(DataConfig(path=path)).train.tolist() == whole


def test_folder_that_cannot_be_written_keeps_nothing_and_harms_nothing(
    write: Callable[..., str], kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("hello world")
    assert text_of(path, cache_dir=path) == "hello world"  # a file where the folder should be

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)  # type: ignore[attr-defined]
    assert text_of(path, cache_dir=str(tmp_path / "cache")) == "hello world"
    assert list((tmp_path / "cache" / "encoded").iterdir()) == []


def test_failed_encoding_leaves_nothing_behind(write: Callable[..., str], kept: Path) -> None:
    with pytest.raises(DataError):
        read_text_ids(write("abcx"), CharTokenizer.from_text("abc"))
    assert list(kept.iterdir()) == []


def test_mapped_text_cannot_change_the_file(write: Callable[..., str], kept: Path) -> None:
    result = prepare(DataConfig(path=write("hello world")))
    (ids,) = kept.glob("*.ids")
    before = ids.read_bytes()
    result.train.zero_()
    assert ids.read_bytes() == before


def test_cache_folder_follows_the_customs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_folder("/x") == Path("/x")
    assert cache.cache_folder(None) == Path(os.environ["MICROGPT_CACHE"])
    monkeypatch.delenv("MICROGPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder(None) == tmp_path / "microgpt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache.cache_folder(None) == Path("/home/someone/.cache/microgpt")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "val_fraction: .* leaves nothing to train on"),
        ({"val_fraction": 1.0}, "out of range"),
        ({"encoding": "utf-88"}, "unknown encoding 'utf-88'; did you mean 'utf-8'"),
        ({"encoding": "base64"}, "unknown encoding"),
        ({"encoding": "rot13"}, "unknown encoding"),
        ({"encoding": ""}, "unknown encoding"),
        ({"encoding": "a\0b"}, "unknown encoding"),
        ({"encoding": "undefined"}, "unknown encoding"),
        ({"tokenizer": "chars"}, "did you mean 'char'"),
        ({"sampling": "shufle"}, "did you mean 'shuffle'"),
        ({"url": "http://example.org"}, "is not https"),
        ({"url": "file:///etc/passwd"}, "is not https"),
        ({"sha256": "123"}, "is no SHA-256"),
        ({"corpus": "../../x"}, "is no name"),
        ({"path": ""}, "path: an empty path"),
        ({"batch_size": 0}, "at least 1"),
        ({"size": 0}, "at least 1"),
    ],
)
def test_wrong_knobs_are_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DataConfig(**knobs)


def test_unknown_corpus_without_an_address_is_refused() -> None:
    with pytest.raises(DataError, match=r"no corpus 'manul' .*did you mean 'manual'"):
        prepare(DataConfig(corpus="manul"))


def test_tokens_of_bytes_are_one_array(write: Callable[..., str]) -> None:
    assert ByteTokenizer().encode("ab") == np.frombuffer(b"ab", np.uint8).tolist()
