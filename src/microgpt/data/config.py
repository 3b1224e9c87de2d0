"""The knobs of the node `data`: the text and how to decode, encode, split and sample it. Needs no torch."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

from microgpt.config import MACHINE, Config, Count, Fault, Fraction, OneOf, Range
from microgpt.text import did_you_mean

ENCODINGS = ("utf-8", "utf-16", "utf-32", "ascii", "latin-1", "cp1252", "cp1250", "cp1251", "iso8859-15", "koi8-r",
             "mac-roman", "shift_jis", "euc-jp", "gb18030", "gbk", "big5", "euc-kr")  # fmt: skip


def _tokenizers() -> Iterable[str]:
    from microgpt.data.tokenizer import Tokenizer  # imports numpy, for which printing the knobs must not wait

    return Tokenizer.choices()


class DataConfig(Config):
    """The text and how to decode, encode, split and sample it; by default Python's manual."""

    path: Annotated[str | None, MACHINE] = None
    "A file, folder or glob of your own text, also compressed (.gz, .zst); wins over the corpus."
    corpus: Annotated[str, MACHINE] = "manual"
    "Name of the corpus: `manual` comes with Python, others are downloaded from `url`."
    url: Annotated[str | None, MACHINE] = None
    "https address of the corpus: a text, or a .zip archive that holds one text."
    sha256: Annotated[str | None, MACHINE] = None
    "SHA-256 of the corpus's text, checked before it is used."
    size: Annotated[Annotated[int, Range(min=1)] | None, MACHINE] = None
    "Size of the corpus's text in bytes, checked before it is used."
    encoding: str = "utf-8"
    "Encoding of the text: utf-8 (with or without BOM), latin-1, utf-16, ... any that Python knows."
    tokenizer: Annotated[str, OneOf(_tokenizers)] = "char"
    "What a token is: a character, a UTF-8 byte, a subword learnt from the text, a number, or as in model.pretrained."
    vocab_size: Annotated[int, Range(min=1)] | None = 1024
    "Vocabulary size for tokenizer=bpe: the 256 bytes and subwords merged from them; of tokens, null: the largest's."
    dtype: Literal["uint8", "uint16", "int16", "uint32", "int32", "int64"] = "uint16"
    "Type of each number in a .bin file of tokens; nanoGPT's is uint16."
    unknown: Annotated[Literal["error", "skip", "replace"], MACHINE] = "error"
    "Characters outside the vocabulary of a model that is evaluated on this text: stop, leave out, or put a stand-in."
    documents: Literal["lines", "files", "separator", "jsonl"] | None = None
    "Read documents, each between a start and an end token: lines, files, between separators, or a JSON object a line."
    separator: str = "<|endoftext|>"
    "What stands between two documents, for documents=separator."
    jsonl_key: str = "text"
    "Name of the text in each line's object, or of a parquet file's column, for documents=jsonl."
    document_windows: Literal["within", "across"] = "within"
    "Training windows: within one document, so that neither loss nor attention crosses its ends, or across documents."
    batch_size: Count = 64
    "Windows per optimizer step, over all devices and micro-batches."
    val_fraction: Fraction = 0.1
    "Share of the text for validation: its end, before the test share; of documents, as many drawn at random."
    test_fraction: Fraction = 0.0
    "Share of the text for testing: its very end; of documents, as many drawn at random."
    sampling: Literal["random", "shuffle", "repeat"] = "random"
    "Order of the training windows: drawn with replacement, each window once an epoch, or the first batch for ever."
    cache_dir: Annotated[str | None, MACHINE] = None
    "Folder for downloads and encoded texts; null: $MICROGPT_CACHE, else ~/.cache/microgpt."

    def check(self) -> Iterator[Fault]:
        if self.tokenizer == "bpe" and (self.vocab_size is None or self.vocab_size < 256):
            yield Fault("vocab_size", f"{self.vocab_size} where tokenizer=bpe needs 256 at least", "raise it")
        if not self.separator:
            yield Fault("separator", "an empty separator", "name what stands between two documents")
        if self.path == "":
            yield Fault("path", "an empty path", "name a file, folder or glob, or null for the corpus")
        if self.val_fraction + self.test_fraction >= 1:
            total = f"{self.val_fraction:g} + {self.test_fraction:g}"
            yield Fault(
                "val_fraction", f"val_fraction + test_fraction = {total} leaves nothing to train on", "lower one"
            )
        if self.url is not None and not self.url.startswith("https://"):
            yield Fault("url", f"{self.url!r} is not https", "corpora are downloaded over https alone")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            yield Fault("sha256", f"{self.sha256!r} is no SHA-256", "write its 64 digits 0-9a-f")
        if not re.fullmatch(r"\w[\w.-]*", self.corpus):
            yield Fault("corpus", f"{self.corpus!r} is no name", "use letters, digits, '-', '_' and '.'")
        if not _is_text_encoding(self.encoding):
            yield Fault("encoding", f"unknown encoding {self.encoding!r}", did_you_mean(self.encoding, ENCODINGS))


def _is_text_encoding(name: str) -> bool:
    try:
        return isinstance("\n".encode(name), bytes)
    except (LookupError, ValueError):
        return False
