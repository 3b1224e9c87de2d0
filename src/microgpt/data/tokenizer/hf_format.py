"""Parts of the `tokenizers` library's tokenizer.json: the byte alphabet, byte pair encoding, added tokens."""

import json
from collections.abc import Sequence
from typing import Any


def bpe_model(vocab: dict[str, int], merges: Sequence[Any], **settings: Any) -> dict[str, Any]:
    """The model of a tokenizer.json that merges pairs of pieces."""
    plain = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}  # fmt: skip
    return {**plain, **settings, "vocab": vocab, "merges": merges}


def added_token(index: int, content: str, special: bool) -> dict[str, Any]:
    """A token that is found in a text before anything else is done to it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, **flags, "special": special}


def letters_json(vocab: dict[str, int], pre_tokenizer: Any, decoder: Any) -> str:
    """A tokenizer.json in which each letter of `vocab` is a token: byte pair encoding without merges."""
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": bpe_model(vocab, []),
    }
    return json.dumps(description, ensure_ascii=False, indent=1)


def _alphabet() -> str:
    """Byte-level tokenizers' character for each byte, as in GPT-2: printable bytes stand for themselves."""
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256))
    return "".join(chr(byte) if byte in plain else chr(256 + next(others)) for byte in range(256))


ALPHABET = _alphabet()
