"""Random tokenizers of the `tokenizers` library and random stop strings: what is counted, lost and printed is exact."""

import json
import random
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch

from microgpt.data.corpus import read_text_ids
from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, HFTokenizer, Tokenizer, tokenizer_from_dict
from microgpt.engine.trained.growing_text import GrowingText
from microgpt.engine.trained.sample import GenerationParams, generate_texts
from microgpt.errors import DataError
from microgpt.model import GPT, GPTConfig

LETTERS = "abcdeABC, .\n\t09'éüß日本語🎩ﬁİe\u0301\u200b\u00a0\u2581#<>"
WORDS = "the cat sat on a mat and saw some dog run to that tree".split()
KEPT = 5
"""Faults that are kept as examples."""


def text(rng: random.Random, most: int = 60) -> str:
    """Words, letters of several scripts, or both."""
    parts = [rng.choice(WORDS) if rng.random() < 0.5 else rng.choice(LETTERS) for _ in range(rng.randint(1, most))]
    return (" " if rng.random() < 0.5 else "").join(parts)


class Library:
    """Random parts of the library."""

    def __init__(self, rng: random.Random) -> None:
        import tokenizers

        self.all, self.rng = tokenizers, rng

    def normalizer(self) -> Any:
        """One, several in a row, or none."""
        n, rng = self.all.normalizers, self.rng
        makers = [
            n.NFC, n.NFD, n.NFKC, n.NFKD, n.Lowercase, n.Strip, n.StripAccents, n.Nmt, n.BertNormalizer,
            lambda: n.Strip(rng.random() < 0.5, rng.random() < 0.5), lambda: n.Prepend(rng.choice("\u2581a<")),
            lambda: n.Replace(rng.choice([" ", "a", "the", "e"]), rng.choice(["\u2581", "", "b", "xyz"])),
        ]  # fmt: skip
        some = [maker() for maker in rng.sample(makers, rng.choice([0, 0, 1, 1, 2, 3]))]
        return some[0] if len(some) == 1 else n.Sequence(some) if some else None

    def pre_tokenizer(self) -> Any:
        """One, two in a row, or none."""
        p, rng = self.all.pre_tokenizers, self.rng
        behaviours = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
        makers = [
            p.Whitespace, p.WhitespaceSplit, p.Punctuation, p.BertPreTokenizer, p.Digits, p.UnicodeScripts,
            lambda: p.ByteLevel(add_prefix_space=rng.random() < 0.5, use_regex=rng.random() < 0.7),
            lambda: p.Metaspace(prepend_scheme=rng.choice(["always", "never", "first"]), split=rng.random() < 0.7),
            lambda: p.Split(rng.choice([" ", "a", self.all.Regex(r"\s+"), self.all.Regex("[a-z]+")]),
                            rng.choice(behaviours)),
            lambda: p.CharDelimiterSplit(rng.choice(" a,")),
        ]  # fmt: skip
        some = [maker() for maker in rng.sample(makers, rng.choice([0, 1, 1, 1, 2]))]
        return some[0] if len(some) == 1 else p.Sequence(some) if some else None

    def model(self) -> tuple[Any, Any]:
        """A model of a random family, and a trainer for it."""
        m, t, rng = self.all.models, self.all.trainers, self.rng
        size, unknown = rng.choice([10, 40, 150, 400]), rng.choice(["<unk>", "[UNK]", "a", None])
        special = [unknown] if unknown and rng.random() < 0.8 else []
        if rng.random() < 0.3:
            special += [f"<0x{byte:02X}>" for byte in range(rng.choice([100, 256]))]
        knobs = {"vocab_size": size + len(special), "special_tokens": special, "show_progress": False}
        family = rng.choice(["bpe", "unigram", "wordpiece", "wordlevel"])
        if family == "unigram":
            return m.Unigram(), t.UnigramTrainer(**knobs, unk_token=unknown if special else None)
        if family == "wordpiece":
            return m.WordPiece(unk_token=unknown or "[UNK]", max_input_chars_per_word=rng.choice([5, 100])), (
                t.WordPieceTrainer(**knobs)
            )
        if family == "wordlevel":
            return m.WordLevel(unk_token=unknown or "<unk>"), t.WordLevelTrainer(**knobs)
        alphabet = self.all.pre_tokenizers.ByteLevel.alphabet() if rng.random() < 0.4 else []
        prefix = rng.choice([None, None, "##"])
        model = m.BPE(
            unk_token=unknown, fuse_unk=rng.random() < 0.5, byte_fallback=rng.random() < 0.5,
            dropout=rng.choice([None, None, 0.3]), continuing_subword_prefix=prefix,
        )  # fmt: skip
        prefixed = {"continuing_subword_prefix": prefix} if prefix else {}
        return model, t.BpeTrainer(**knobs, initial_alphabet=alphabet, **prefixed)

    def tokenizer(self) -> HFTokenizer:
        """A tokenizer learnt from a random text, with added tokens."""
        rng = self.rng
        if rng.random() < 0.35:
            return self.byte_level()
        model, trainer = self.model()
        made = self.all.Tokenizer(model)
        if (part := self.normalizer()) is not None:
            made.normalizer = part
        if (part := self.pre_tokenizer()) is not None:
            made.pre_tokenizer = part
        made.train_from_iterator([text(rng, 200), *(LETTERS if rng.random() < 0.5 else "")], trainer)
        return self.finished(made)

    def byte_level(self) -> HFTokenizer:
        """A tokenizer as those of GPT-2, Llama 3 and Qwen, with all bytes."""
        p, rng = self.all.pre_tokenizers, self.rng
        made = self.all.Tokenizer(self.all.models.BPE())
        levels = p.ByteLevel(add_prefix_space=rng.random() < 0.3), p.ByteLevel(add_prefix_space=False, use_regex=False)
        words = self.all.Regex(r" ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+")
        made.pre_tokenizer = rng.choice(
            [
                levels[0],
                levels[1],
                p.Sequence([p.Digits(), levels[0]]),
                p.Sequence([p.Split(words, "isolated"), levels[1]]),
            ]
        )
        if rng.random() < 0.4 and (part := rng.choice([self.all.normalizers.NFC(), self.normalizer()])) is not None:
            made.normalizer = part
        made.decoder = self.all.decoders.ByteLevel()
        trainer = self.all.trainers.BpeTrainer(
            vocab_size=rng.choice([256, 300, 400]), initial_alphabet=p.ByteLevel.alphabet(), show_progress=False
        )
        made.train_from_iterator([text(rng, 200)], trainer)
        return self.finished(made)

    def finished(self, made: Any) -> HFTokenizer:
        """The tokenizer with added tokens and settings."""
        rng = self.rng
        for _ in range(rng.choice([0, 0, 1, 3])):
            content = rng.choice(["<end>", "a b", "日", "cat", "\n\n", " x", "語é"])
            options = {name: rng.random() < 0.3 for name in ("single_word", "lstrip", "rstrip", "normalized")}
            token = self.all.AddedToken(content, **options)
            (made.add_special_tokens if rng.random() < 0.5 else made.add_tokens)([token])
        description = json.loads(made.to_str())
        if description["model"]["type"] == "Unigram" and rng.random() < 0.3:
            description["model"]["byte_fallback"] = True
        if rng.random() < 0.3:
            description["truncation"] = {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
        return HFTokenizer(json.dumps(description))


def tokenizers(folder: Path, tries: int, seed: int = 0) -> dict[str, Any]:
    """Random tokenizers and texts against counts of the text, the library's own tokens and what decoding gives."""
    rng = random.Random(seed)
    library = Library(rng)
    figures: dict[str, Any] = {"tokenizers": 0, "texts": 0, "with unknown characters": 0, "read in pieces": 0,
                               "no known character": 0, "models that know all": 0, "come back": 0, "library fails": 0,
                               "faults": []}  # fmt: skip
    while figures["tokenizers"] < tries:
        try:
            tokenizer = library.tokenizer()
        except Exception:  # the library itself refuses the parts together
            continue
        figures["tokenizers"] += 1
        figures["models that know all"] += tokenizer._coverage.is_total
        for _ in range(4):
            words, more = text(rng), text(rng)
            figures["texts"] += 1
            try:
                check(tokenizer, words, more, folder, figures)
            except Exception as error:
                if isinstance(error, DataError) and "library fails" in error.what:  # its own fault, which is said
                    figures["library fails"] += 1
                    continue
                if len(figures["faults"]) < KEPT:
                    figures["faults"].append([traceback.format_exc(limit=-2)[-400:], tokenizer.text, words])
    enough = min(figures["read in pieces"], figures["with unknown characters"], figures["come back"]) >= tries / 10
    figures["passed"] = not figures["faults"] and enough
    return figures


def spells_spaces(tokenizer: HFTokenizer) -> bool:
    """Whether decoding gives the text: no space is put before it, and no added token takes the spaces around it."""
    description = json.loads(tokenizer.text)
    if (description["decoder"] or {}).get("type") != "ByteLevel":
        return False
    takes = any(token["lstrip"] or token["rstrip"] for token in description["added_tokens"])
    return not takes and '"add_prefix_space":true' not in json.dumps(
        description["pre_tokenizer"], separators=(",", ":")
    )


def check(tokenizer: HFTokenizer, words: str, more: str, folder: Path, figures: dict[str, Any]) -> None:
    """The laws of one text."""
    lost: dict[str, int] = {}
    for policy in ("skip", "replace"):
        twin = tokenizer.with_unknown(policy)
        ids, unknown = twin.encode_counted(words)
        lost = dict(unknown)
        require(all(0 < n <= words.count(c) for c, n in lost.items()), f"counts {lost}")
        require(
            tokenizer_from_dict(json.loads(json.dumps(twin.to_dict())), policy).encode(words) == ids.tolist(), "json"
        )
        if policy == "replace" and (theirs := library_tokens(tokenizer, words)) is not None:
            require(theirs == ids.tolist(), "not the library's tokens")
        if tokenizer._coverage.unknown is not None and policy == "skip":
            require(tokenizer._coverage.unknown not in ids.tolist() or not lost, "an unknown token is left")
        settled = twin.settled(words)
        figures["read in pieces"] += settled > 0
        pieces = twin.encode(words[:settled]) + twin.encode((words + more)[settled:])
        require(pieces == twin.encode(words + more), f"in pieces at {settled}")
        measure(twin, words, lost, folder, figures)
    figures["with unknown characters"] += bool(lost)
    if tokenizer._coverage.is_total and tokenizer.backend.normalizer is None and spells_spaces(tokenizer):
        figures["come back"] += 1
        require(tokenizer.decode(tokenizer.encode(words)) == words, "another text comes back")
    try:
        strict = tokenizer.encode(words)
        require(not lost, f"{lost} not refused")
        require(strict == tokenizer.with_unknown("replace").encode(words), "other tokens when strict")
    except DataError as error:
        require(bool(lost) or "library fails" in error.what, "refused without a lost character")


def measure(tokenizer: HFTokenizer, words: str, lost: dict[str, int], folder: Path, figures: dict[str, Any]) -> None:
    """The sizes of a text that is read from a file, against the text."""
    path = folder / "text.txt"
    path.write_bytes(words.encode())
    words = words.removeprefix("\ufeff")
    try:
        whole = read_text_ids(str(path), tokenizer, unknown=tokenizer.unknown, cache_dir=str(folder / "cache"))
    except DataError as error:
        require(error.what == "no known character" and not tokenizer.encode(words), error.what)
        figures["no known character"] += 1
        return
    left_out = lost if tokenizer.leaves_out_unknown else {}
    characters = len(words) - sum(left_out.values())
    n_bytes = len(words.encode()) - sum(len(c.encode()) * n for c, n in left_out.items())
    require(whole.chars_per_token == characters / len(whole), "characters")
    require(whole.bytes_per_token == n_bytes / len(whole), "bytes")


def library_tokens(tokenizer: HFTokenizer, words: str) -> list[int] | None:
    """What the library gives; None where it fails at an unknown character."""
    try:
        return list(tokenizer.backend.encode(words, add_special_tokens=False).ids)
    except Exception:
        return None


def require(holds: bool, what: str) -> None:
    """Raise an error that names a broken law."""
    if not holds:
        raise AssertionError(what)


def codecs(rng: random.Random) -> list[Tokenizer]:
    """Tokenizers whose tokens are characters, parts of characters, words, and words with the space before them."""
    import tokenizers as library

    characters = CharTokenizer(sorted({*LETTERS, *"".join(WORDS)}))
    byte_level = Library(rng).all.Tokenizer(library.models.BPE())
    byte_level.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    byte_level.train_from_iterator([text(rng, 400) for _ in range(5)], trainer)
    names = [*(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdethsn", "\u2581the", "日"]
    pieces = library.Tokenizer(library.models.Unigram([("<unk>", 0.0), *((name, -3.0) for name in names)], 0, True))
    pieces.pre_tokenizer = library.pre_tokenizers.Metaspace(prepend_scheme="never")
    pieces.decoder = library.decoders.Sequence(
        [library.decoders.Replace("\u2581", " "), library.decoders.ByteFallback(), library.decoders.Fuse()]
    )
    return [characters, ByteTokenizer(), HFTokenizer(byte_level.to_str()), HFTokenizer(pieces.to_str())]


def stop_strings(folder: Path, tries: int, seed: int = 0) -> dict[str, Any]:
    """Random tokens and stop strings: the text ends just before the first stop, and streamed pieces join to it."""
    del folder
    rng, torch_seed = random.Random(seed), 0
    warnings.simplefilter("ignore")
    figures: dict[str, Any] = {"texts": 0, "stopped": 0, "generated": 0, "faults": []}
    tokenizers = codecs(rng)
    models = [GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=16), t.vocab_size).eval() for t in tokenizers]
    torch.manual_seed(torch_seed)
    for number in range(tries):
        which = rng.randrange(len(tokenizers))
        tokenizer, model = tokenizers[which], models[which]
        try:
            if number % 10:
                grow(tokenizer, rng, figures)
            else:
                generated(tokenizer, model, rng, figures)
        except Exception:
            if len(figures["faults"]) < KEPT:
                figures["faults"].append([tokenizer.name, traceback.format_exc(limit=-2)[-600:]])
    figures["passed"] = not figures["faults"] and figures["stopped"] > tries / 10
    return figures


def grow(tokenizer: Tokenizer, rng: random.Random, figures: dict[str, Any]) -> None:
    """Tokens of a text, or any tokens, one by one."""
    words, prompt = text(rng), tokenizer.encode(text(rng, 10)) if rng.random() < 0.5 else []
    if rng.random() < 0.7:
        tokens = tokenizer.with_unknown("skip").encode(words)
        whole = tokenizer.decode([*prompt, *tokens])[len(tokenizer.decode(prompt)) :]
    else:  # bytes that are no characters may change what was decoded before them
        tokens = [rng.randrange(tokenizer.vocab_size) for _ in range(rng.randint(1, 40))]
        growing = GrowingText(tokenizer, prompt)
        for token in tokens:
            growing.add(token)
        whole = growing.finish()
    stops = [stop for stop in (some_stop(whole, rng) for _ in range(rng.choice([0, 1, 1, 2, 3]))) if stop]
    growing, streamed = GrowingText(tokenizer, prompt, stops), ""
    for token in tokens:
        growing.add(token)
        streamed += growing.take()
    text_ = growing.finish()
    require(growing.is_stopped == any(stop in whole for stop in stops), f"stopped {growing.is_stopped}")
    require(text_ == until_first(whole, stops), f"{text_!r} of {whole!r} until {stops}")
    require(streamed + growing.rest() == text_, f"streamed {streamed!r} of {text_!r}")
    require(text_.startswith(streamed), f"took back {streamed!r}")
    figures["texts"] += 1
    figures["stopped"] += growing.is_stopped


def generated(tokenizer: Tokenizer, model: GPT, rng: random.Random, figures: dict[str, Any]) -> None:
    """The same for a model's own text: with stops it is the text without them, cut."""
    prompt = rng.choice(["", "a", "the cat"])
    knobs: dict[str, Any] = {"max_new_tokens": 24, "seed": rng.randrange(1000), "temperature": rng.choice([0.0, 1.0])}
    (whole,) = generate_texts(model, tokenizer, prompt, GenerationParams(**knobs))
    new = whole[len(prompt) :]
    stops = [stop for stop in (some_stop(new, rng) for _ in range(2)) if stop]
    pieces: list[str] = []
    (stopped,) = generate_texts(model, tokenizer, prompt, GenerationParams(**knobs, stop=stops), pieces.append)
    require(stopped == prompt + until_first(new, stops), f"{stopped!r} of {whole!r} until {stops}")
    require("".join(pieces) == stopped, f"streamed {pieces} of {stopped!r}")
    figures["generated"] += 1


def some_stop(whole: str, rng: random.Random) -> str:
    """A stop string: a part of the text, or another."""
    if whole and rng.random() < 0.7:
        begin = rng.randrange(len(whole))
        return whole[begin : begin + rng.randint(1, 5)]
    return text(rng, 2)


def until_first(whole: str, stops: list[str]) -> str:
    """The text before the stop that is completed first, found by reading it character by character."""
    for end in range(1, len(whole) + 1):
        done = [stop for stop in stops if whole[:end].endswith(stop)]
        if done:
            return whole[: end - max(map(len, done))]
    return whole
