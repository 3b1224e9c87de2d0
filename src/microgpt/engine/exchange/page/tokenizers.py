"""Tokenizers as plain data, for `tokenizer.js`."""

import json
from typing import Any

from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, HFTokenizer, Tokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.errors import UsageError


def described(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a page needs to encode and decode like this tokenizer.

    Raises:
        UsageError: a page has no such tokenizer.
    """
    ends = {"ends": tokenizer.end_tokens()}
    if isinstance(tokenizer, DocumentTokenizer):
        return {**described(tokenizer.inner), **ends, "start": tokenizer.start, "names": tokenizer.names}
    return text_tokens(tokenizer) | ends


def text_tokens(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a page needs to encode and decode a text; raises as `described` does."""
    if isinstance(tokenizer, CharTokenizer):
        return {"kind": "char", "codes": [ord(c) for c in tokenizer.characters]}
    if isinstance(tokenizer, ByteTokenizer):
        return {"kind": "byte"}
    if isinstance(tokenizer, HFTokenizer):
        return byte_pairs(json.loads(tokenizer.text), tokenizer.vocab_size)
    raise refused(f"a tokenizer of kind {tokenizer.name!r}")


def byte_pairs(parts: dict[str, Any], size: int) -> dict[str, Any]:
    """The tokens and merges of a tokenizer.json that cuts and merges as GPT-2's does."""
    model, words, decoder = (parts.get(key) or {} for key in ("model", "pre_tokenizer", "decoder"))
    is_plain = words.get("use_regex", True) and not words.get("add_prefix_space", True)
    odd = [key for key in ("unk_token", "dropout", "byte_fallback", "ignore_merges") if model.get(key)]
    odd += [key for key in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if parts.get("normalizer") is not None:
        odd.append("a normalizer")
    if odd:
        raise refused(f"a tokenizer with {', '.join(odd)}")
    if model.get("type") != "BPE" or words.get("type") != "ByteLevel" or decoder.get("type") != "ByteLevel":
        raise refused(f"a tokenizer of type {model.get('type')} that does not cut words and bytes as GPT-2's does")
    if not is_plain:
        raise refused("a tokenizer that puts a space before a text, or does not cut words")
    tokens: list[str | None] = [None] * size
    for token, index in model["vocab"].items():
        tokens[index] = token
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    added = [[token["content"], token["id"]] for token in parts.get("added_tokens") or ()]
    return {"kind": "bpe", "tokens": tokens, "merges": merges, "added": added}


def refused(what: str) -> UsageError:
    """The error for a tokenizer that a page does not have."""
    return UsageError(what, "the tokenizer", "pages have characters, bytes and GPT-2's byte pairs")
