"""A text ends just before its first stop string, and the pieces that are shown are the text, for any tokenizer."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, HFTokenizer
from microgpt.engine.trained.growing_text import GrowingText, TextCodec

TEXT = "the cat sat on the mat. Žluťoučký kůň 日本語 🙂🙃 naïve – «quoted»\n" * 8


def trained_tokenizer(tokenizers: Any, kind: str) -> HFTokenizer:
    models, trainers, decoders = tokenizers.models, tokenizers.trainers, tokenizers.decoders
    pre = tokenizers.pre_tokenizers
    if kind == "byte-level BPE":
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer, backend.decoder = pre.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False)
    else:  # as SentencePiece has it: Unigram pieces, and bytes for what they lack
        pieces = [("<unk>", 0.0), *((f"<0x{b:02X}>", -9.0) for b in range(256))]
        pieces += [(piece, -float(i)) for i, piece in enumerate(("▁", "▁the", "▁cat", "at", "t", "a", "s", "o", "n"))]
        backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
        backend.pre_tokenizer = pre.Metaspace()
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
        return HFTokenizer(backend.to_str())
    backend.train_from_iterator([TEXT], trainer)
    return HFTokenizer(backend.to_str())


@pytest.fixture(params=["characters", "bytes", "byte-level BPE", "Unigram with bytes"])
def codec(request: pytest.FixtureRequest) -> TextCodec:
    if request.param == "characters":
        return CharTokenizer.from_text(TEXT)
    if request.param == "bytes":
        return ByteTokenizer()
    return trained_tokenizer(request.getfixturevalue("tokenizers"), request.param)


def grown(codec: TextCodec, prompt: list[int], new: list[int], stop: list[str], every: int) -> tuple[str, list[str]]:
    """The finished text, and the pieces taken after every so many tokens."""
    text, pieces = GrowingText(codec, prompt, stop), []
    for i, token in enumerate(new):
        text.add(token)
        if i % every == 0:
            pieces.append(text.take())
    return text.finish(), [*pieces, text.rest()]


def test_the_pieces_are_the_text_and_no_character_is_shown_in_halves(codec: TextCodec) -> None:
    ids, draw = codec.encode(TEXT), random.Random(0)
    for _ in range(60):
        at, n = draw.randrange(1, len(ids) - 1), draw.randrange(1, 60)
        prompt, new = ids[:at], ids[at : at + n]
        # Some tokenizers leave out spaces at a text's start, so a few tokens before are decoded too.
        expected = codec.decode([*prompt[-4:], *new])[len(codec.decode(prompt[-4:])) :]
        text, pieces = grown(codec, prompt, new, [], draw.randrange(1, 4))
        if "\ufffd" not in codec.decode(prompt[-4:]) + expected:  # the cut fell between characters
            assert text == expected
            assert "\ufffd" not in "".join(pieces)
        assert "".join(pieces) == text


def test_a_text_ends_just_before_the_first_stop_however_tokens_split_it(codec: TextCodec) -> None:
    ids, draw = codec.encode(TEXT), random.Random(1)
    whole, _ = grown(codec, ids[:1], ids[1:120], [], 1)
    for _ in range(150):
        stops = []
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(whole))
            stops.append(whole[at : at + draw.randrange(1, 9)] if draw.random() < 0.8 else "never there")
        complete = [(whole.find(stop) + len(stop), whole.find(stop)) for stop in stops if stop in whole]
        first = min(complete, default=(0, len(whole)))[1]
        text, pieces = grown(codec, ids[:1], ids[1:120], stops, draw.randrange(1, 4))
        assert text == whole[:first]
        assert "".join(pieces) == text


def test_random_tokens_are_shown_as_they_are_returned(codec: TextCodec) -> None:
    """Bytes that make no character, too."""
    draw, size = random.Random(2), max(codec.encode(TEXT)) + 1
    for _ in range(40):
        new = [draw.randrange(size) for _ in range(draw.randrange(1, 50))]
        text, pieces = grown(codec, [0], new, [], 1)
        assert "".join(pieces) == text


def test_a_token_costs_the_same_however_long_the_text(tokenizers: Any) -> None:
    tokenizer, longest = trained_tokenizer(tokenizers, "byte-level BPE"), [0]
    decode: Callable[..., str] = tokenizer.decode

    def counted(ids: list[int]) -> str:
        longest[0] = max(longest[0], len(ids))
        return decode(ids)

    tokenizer.decode = counted
    ids = tokenizer.encode(TEXT * 4)
    grown(tokenizer, ids[:9], ids[9:], ["never there"], 1)
    assert longest[0] < 24


@pytest.mark.parametrize("prompt", ["日", "本語", "🙂語", "a語🙃", "日本語 🙂🙃"])
def test_the_context_of_a_prompt_begins_with_a_whole_character(codec: TextCodec, prompt: str) -> None:
    """A decoder that falls back to bytes made U+FFFD of all bytes after half of a character."""
    given, both = codec.encode(prompt), codec.encode(prompt + ".q")
    assert both[: len(given)] == given
    assert grown(codec, given, both[len(given) :], [], 1)[0] == ".q"
