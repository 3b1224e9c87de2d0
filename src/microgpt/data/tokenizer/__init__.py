"""Tokenizers convert text to indices and back. Needs only numpy; subwords need the extra `hf`.

Importing this package imports every module in the folder, which registers the tokenizers.
"""

from microgpt.data.tokenizer.base import Tokenizer, Unknown, tokenizer_from_dict
from microgpt.data.tokenizer.bpe import BPETokenizer
from microgpt.data.tokenizer.byte import ByteTokenizer
from microgpt.data.tokenizer.char import CharTokenizer
from microgpt.data.tokenizer.hf import HFTokenizer
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = [
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "HFTokenizer",
    "Tokenizer",
    "Unknown",
    "tokenizer_from_dict",
]
