"""Any of our tokenizers as the text of a tokenizer.json, which the `tokenizers` library reads. Needs numpy alone.

Characters and bytes are byte pair encodings without a single pair: each letter of the alphabet stays a token.
"""

import json
from typing import Any

from microgpt.data.tokenizer.base import Tokenizer
from microgpt.data.tokenizer.byte import ByteTokenizer
from microgpt.data.tokenizer.char import CharTokenizer
from microgpt.data.tokenizer.hf import ALPHABET, HFTokenizer
from microgpt.errors import UsageError


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """The tokenizer.json that gives the same indices; characters outside the vocabulary are left out.

    Raises:
        UsageError: it cannot be expressed; says why.
    """
    if isinstance(tokenizer, HFTokenizer):
        return tokenizer.text
    if isinstance(tokenizer, ByteTokenizer):
        coder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        return _letters({c: i for i, c in enumerate(ALPHABET)}, coder, coder)
    if isinstance(tokenizer, CharTokenizer):
        strange = next((c for c in tokenizer.characters if "\ud800" <= c <= "\udfff"), None)
        if strange is not None:
            what = f"the vocabulary holds U+{ord(strange):04X}, half of a character, which no tokenizer.json can"
            raise UsageError(what, "the tokenizer", "export with --format safetensors")
        return _letters({c: i for i, c in enumerate(tokenizer.characters)}, None, {"type": "Fuse"})
    what = f"a tokenizer of kind {tokenizer.kind!r}, which has no tokenizer.json"
    raise UsageError(what, "the tokenizer", "export with --format safetensors")


def _letters(vocab: dict[str, int], pre_tokenizer: Any, decoder: Any) -> str:
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": [],
    }
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }
    return json.dumps(description, ensure_ascii=False, indent=1)
