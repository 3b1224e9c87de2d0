"""Tokenizers: a text becomes a list of indices and back. Needs numpy alone; subwords need the extra `hf`.

Importing this package registers the members that ship; one more is a file here, a `kind=` and a line below.
"""

from microgpt.data.tokenizer.base import Tokenizer, Unknown, tokenizer_from_dict
from microgpt.data.tokenizer.bpe import BPETokenizer
from microgpt.data.tokenizer.byte import ByteTokenizer
from microgpt.data.tokenizer.char import CharTokenizer
from microgpt.data.tokenizer.hf import HFTokenizer

__all__ = [
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "HFTokenizer",
    "Tokenizer",
    "Unknown",
    "tokenizer_from_dict",
]
