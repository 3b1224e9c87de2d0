"""Small tokenizers of the kind that pretrained models have."""

import json
from collections.abc import Sequence

from microgpt.data.tokenizer import BPETokenizer, HFTokenizer
from microgpt.data.tokenizer.hf_format import added_token


def subwords(texts: Sequence[str], vocab_size: int, *special: str) -> HFTokenizer:
    """Subwords of these texts, after special tokens of these names."""
    description = json.loads(BPETokenizer.from_texts([" ".join(texts)], vocab_size).tokenizer_json())
    model = description["model"]
    pieces = {token: i + len(special) for token, i in model["vocab"].items()}
    vocab = {name: i for i, name in enumerate(special)} | pieces
    added = [added_token(i, name, special=True) for i, name in enumerate(special)]
    return HFTokenizer(json.dumps(description | {"added_tokens": added, "model": {**model, "vocab": vocab}}))
