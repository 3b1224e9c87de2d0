"""SentencePiece's tokenizer.model: its own package's tokens and texts, for models trained here; and hostile files."""

import io
import random
import struct
import unicodedata
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microgpt import load
from microgpt.data.tokenizer import HFTokenizer
from microgpt.engine.commands.import_ import main
from microgpt.engine.exchange import spm_tokenizer
from microgpt.engine.exchange.own_tokenizer import find_tokenizer
from microgpt.engine.exchange.spm_file import Kind, PieceType, fields, read_spm
from microgpt.errors import CheckpointError, MicrogptError
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.hf import write_model

sentencepiece: Any = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

LINES = [
    "the cat sat on the mat, and the dog looked at the cat.", "naïve café über die Brücke, tiếng Việt",
    "日本語の文章を読みます。ガガ", "Привет, мир! Как дела?", "1234 + 5678 = 6912", "def f(x):\n    return x",
    "🎩 hat and 🐈 cat",
]  # fmt: skip
EXACT = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
TRAINED: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "bpe", **EXACT},
    "gemma": {"model_type": "bpe", "add_dummy_prefix": False, "user_defined_symbols": ["<mask>", "▁▁"], **EXACT},
    "bpe": {"model_type": "bpe"},
    "bpe trimmed": {"model_type": "bpe", "normalization_rule_name": "identity", "byte_fallback": True},
    "unigram": {"model_type": "unigram"},
    "unigram bytes": {"model_type": "unigram", **EXACT},
    "unigram own": {"model_type": "unigram", "user_defined_symbols": ["<mask>", "cat"], "byte_fallback": True},
    "nfkc": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "nfkc"},
    "char": {"model_type": "char"},
}
TEXTS = [
    *LINES, "", " ", "  a  b   c ", "a\n\nb\tc\r\n", "\n", "▁a ▁", "x<mask>cat<mask> x", "日本\n語～１２３ ＡＢＣ ｶﾞｷﾞ",
    "<unk> <0x0A> <0xFF>", "½ ① ﬁn ㌔ Å", "e\u0323\u0302 e\u0301", "a\u200bb\u200cc\u00a0d\u3000e",
    "👩\u200d🚀 🏳️", "\u0001\u007f",
    "ΣΑΣ Straße İ",
]  # fmt: skip


def trained(**options: Any) -> bytes:
    """The file of a model that is trained on LINES."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 30), model_writer=out, minloglevel=2, character_coverage=1.0,
        hard_vocab_limit=False, vocab_size=600 if options.get("byte_fallback") else 400, **options,
    )  # fmt: skip
    return out.getvalue()


Both = tuple[Any, HFTokenizer]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Both]:
    """both(name): SentencePiece's processor of a trained model, and our tokenizer of its file."""
    made: dict[str, Both] = {}

    def make(name: str) -> Both:
        if name not in made:
            path = tmp_path_factory.mktemp("spm") / "tokenizer.model"
            path.write_bytes(trained(**TRAINED[name]))
            theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
            made[name] = theirs, find_tokenizer(path, theirs.vocab_size()).with_unknown("replace")
        return made[name]

    return make


def check(both: Both, text: str) -> None:
    theirs, ours = both
    ids = theirs.encode(text)
    assert ours.encode(text) == ids, text
    if theirs.unk_id() not in ids:  # which it writes as ⁇, and we by its name
        assert ours.decode(ids) == theirs.decode(ids), text


@pytest.mark.parametrize("name", TRAINED)
def test_tokens_and_texts_are_those_of_sentencepiece(both: Callable[[str], Both], name: str) -> None:
    for text in TEXTS:
        for form in ("NFC", "NFD"):
            check(both(name), unicodedata.normalize(form, text))


LETTERS = [*" \n\t▁.,<>0xABte", "  ", "the", " cat", "mat", "<mask>", "unk>", "日", "本", "ガ", "～", "é", "П", "🎩",
           "🐈", "\xa0", "\u3000", "\u200b", "Ａ", "½", "㌔", "\r", "ß", "क़", "한"]  # fmt: skip


@pytest.mark.parametrize("name", TRAINED)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(letters=st.lists(st.sampled_from(LETTERS), max_size=30))
def test_any_text_of_odd_letters_has_the_same_tokens(
    both: Callable[[str], Both], name: str, letters: list[str]
) -> None:
    check(both(name), "".join(letters))


@pytest.mark.parametrize("name", ["llama", "unigram bytes", "gemma"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_any_text_at_all_has_the_same_tokens_where_nothing_is_normalised(
    both: Callable[[str], Both], name: str, text: str
) -> None:
    check(both(name), text.replace("\0", ""))  # at which SentencePiece's tries end


def test_the_end_token_is_known_and_found_in_a_text(both: Callable[[str], Both]) -> None:
    theirs, ours = both("llama")
    assert ours.end_token() == (theirs.eos_id(), "</s>")
    assert ours.encode("cat</s>")[-1] == theirs.eos_id()
    assert HFTokenizer.from_dict(ours.state()).encode("the cat") == theirs.encode("the cat")


def test_a_folder_with_a_tokenizer_model_alone_comes_in(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "tokenizer.model").write_bytes(trained(**TRAINED["llama"]))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(theirs / "tokenizer.model"))
    torch.manual_seed(0)
    parts = {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "n_layer": 1, "n_head": 2, "n_embd": 16}
    write_model(theirs, GPT(GPTConfig.from_dict(parts), 640))  # a padded vocabulary
    assert main(["hf", str(theirs), str(tmp_path / "out")]) == 0
    run = load(tmp_path / "out")
    assert run.tokenizer.vocab_size == 640
    assert run.tokenizer.encode(LINES[0]) == processor.encode(LINES[0])
    assert run.tokenizer.decode(processor.encode(LINES[5])) == LINES[5]


# Files from strangers.


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece(text: str | bytes, score: float = 0.0, type: int = 1) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return field(1, field(1, raw) + b"\x15" + struct.pack("<f", score) + field(3, type))


UNK = piece("<unk>", type=2)
BPE_KIND = field(2, field(3, 2))
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "0 unknown pieces"),
    "text": (b"hello world, this is no model", "no SentencePiece model"),
    "a long number": (b"\xff" * 40, "a number of more than ten bytes"),
    "a size beyond the end": (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "it ends too early"),
    "a size of nothing": (b"\x0a", "it ends too early"),
    "a group": (b"\x0b" * 10, "a field of wire type 3"),
    "groups nested": (b"\x0b" * 1_000_000, "a field of wire type 3"),
    "a number for a piece": (field(1, 7), "a number in place of bytes"),
    "bytes for a number": (UNK + field(2, field(3, b"x")), "bytes in place of a number"),
    "a piece without text": (UNK + field(1, field(3, 1)), "a piece of 0 characters"),
    "a piece that is no UTF-8": (UNK + piece(b"\xff\xfe"), "invalid start byte"),
    "a very long piece": (UNK + piece("a" * 100_000), "a piece of 100000 characters"),
    "no number": (UNK + piece("a", float("nan")), "the score nan"),
    "infinity": (UNK + piece("a", float("-inf")), "the score -inf"),
    "another type": (UNK + piece("a", type=9), "9 is not a valid PieceType"),
    "another kind": (UNK + field(2, field(3, 77)), "77 is not a valid Kind"),
    "a piece twice": (UNK + piece("a") + piece("a"), "a piece stands twice"),
    "two unknown": (UNK + piece("<u>", type=2), "2 unknown pieces"),
    "bytes without the option": (UNK + piece("<0x00>", type=6), "1 pieces for bytes"),
    "too few bytes": (UNK + field(2, field(35, 1)) + piece("<0x00>", type=6), "1 pieces for bytes"),
    "words": (UNK + field(2, field(3, 3)), "model_type=word, which we cannot express"),
    "a suffix": (UNK + field(2, field(24, 1)), "treat_whitespace_as_suffix=true"),
    "spaces": (UNK + field(3, field(5, 0)), "escape_whitespaces=false"),
    "a denormalizer": (UNK + field(5, field(2, b"xx")), "a denormalizer"),
    "unused": (UNK + piece("a", type=5), "unused pieces"),
    "folded case": (trained(model_type="bpe", normalization_rule_name="nmt_nfkc_cf"), "the normalisation rules 'nmt"),
    "rules of its own": (UNK + field(3, field(1, b"mine\x1b[2J") + field(2, b"xx")), "the normalisation rules 'mine"),
    "equal scores": (UNK + BPE_KIND + b"".join(piece(t, -1) for t in ("a", "b", "ab", "ba")), "2 pieces have the"),
    "a table of nothing": (UNK + piece("a") + field(3, field(1, b"nfkc") + field(2, b"\1")), "tokenizer"),
    "a table that is too short": (UNK + piece("a") + field(3, field(1, b"nfkc") + field(2, b"\xff" * 9)), "tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path: Path, what: str) -> None:
    data, said = HOSTILE[what]
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(CheckpointError) as refused:
        find_tokenizer(tmp_path, 1000)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_what_is_no_file_of_a_few_megabytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_spm(tmp_path / "tokenizer.model")
    with (tmp_path / "tokenizer.model").open("wb") as file:
        file.truncate(1 << 40)  # a file with a hole
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_spm(tmp_path / "tokenizer.model")


def test_vocabularies_that_would_take_hours_or_all_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spm_tokenizer, "MOST_MERGES", 1000)
    words = ["".join(letters) for n in range(1, 9) for letters in product("ab", repeat=n)]  # each cut makes two pieces
    every = BPE_KIND + b"".join(piece(word, -i) for i, word in enumerate(words))
    own = b"".join(piece(f"<{i}>", type=4) for i in range(5000))
    for pieces, said in ((every, "more than 1,000 pairs of pieces"), (own, "more than 4,096 user-defined pieces")):
        (tmp_path / "tokenizer.model").write_bytes(UNK + pieces)
        with pytest.raises(CheckpointError, match=said):
            find_tokenizer(tmp_path, 10_000)


def test_a_vocabulary_of_long_pieces_takes_no_long_time(tmp_path: Path) -> None:
    """Every piece can be cut at every letter, and all parts are pieces."""
    pieces = b"".join(piece("a" * n, -n) for n in range(1, 257))
    (tmp_path / "tokenizer.model").write_bytes(UNK + BPE_KIND + pieces)
    tokenizer = find_tokenizer(tmp_path, 257).with_unknown("replace")
    assert tokenizer.encode("a" * 256) == [0, 256]  # no piece has the space before a text


def test_no_flipped_bit_of_a_file_is_a_crash(tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "tokenizer.model"
    for name in ("bpe", "unigram own"):
        data = trained(**TRAINED[name])
        for round in range(150):
            bad = bytearray(data)
            if round % 3 == 0:
                del bad[rng.randrange(len(bad)) :]
            for _ in range(3):
                if bad:
                    bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            try:
                find_tokenizer(tmp_path, 1000).with_unknown("replace").encode(TEXTS[0])
            except MicrogptError as error:
                said = str(error)
            else:
                said = "read"
            assert said.isprintable()


def test_what_is_read_is_what_sentencepiece_reads(both: Callable[[str], Both], tmp_path: Path) -> None:
    theirs, _ = both("gemma")
    (tmp_path / "tokenizer.model").write_bytes(theirs.serialized_model_proto())
    model = read_spm(tmp_path / "tokenizer.model")
    assert (model.kind, model.adds_space, model.trims_spaces, model.spells_bytes) == (Kind.BPE, False, False, True)
    assert [p.text for p in model.pieces] == [theirs.id_to_piece(i) for i in range(theirs.vocab_size())]
    assert [p.score for p in model.pieces] == [theirs.get_score(i) for i in range(theirs.vocab_size())]
    assert [i for i, p in enumerate(model.pieces) if p.type is PieceType.CONTROL] == [1, 2]
    assert len(dict(fields(theirs.serialized_model_proto()))) >= 3
