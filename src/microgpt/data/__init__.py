"""From text to batches: tokenizers, corpora, windows. Needs only torch and numpy."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microgpt.data.config import DataConfig as DataConfig
    from microgpt.data.corpus import Corpus as Corpus
    from microgpt.data.corpus import prepare as prepare
    from microgpt.data.dataset import TextDataset as TextDataset
    from microgpt.data.tokenizer import ByteTokenizer as ByteTokenizer
    from microgpt.data.tokenizer import CharTokenizer as CharTokenizer
    from microgpt.data.tokenizer import Tokenizer as Tokenizer
    from microgpt.data.windows import Windows as Windows

# Loaded on first use: the schema of the knobs must not wait for torch.
_HOMES = {
    "ByteTokenizer": "tokenizer",
    "CharTokenizer": "tokenizer",
    "Corpus": "corpus",
    "DataConfig": "config",
    "TextDataset": "dataset",
    "Tokenizer": "tokenizer",
    "Windows": "windows",
    "prepare": "corpus",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
