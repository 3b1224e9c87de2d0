"""Tokenizers: a text becomes a list of indices and back. Needs numpy alone.

Importing this package registers the members that ship; one more is a file here, a `kind=` and a line below.
"""

from microgpt.data.tokenizer.base import Tokenizer, Unknown, tokenizer_from_dict
from microgpt.data.tokenizer.byte import ByteTokenizer
from microgpt.data.tokenizer.char import CharTokenizer

__all__ = ["ByteTokenizer", "CharTokenizer", "Tokenizer", "Unknown", "tokenizer_from_dict"]
