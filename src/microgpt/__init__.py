"""microgpt: train, fine-tune, evaluate and sample small GPT models.

Public names load on first use, so that importing the package stays fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microgpt.data.dataset import TextDataset
    from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer
    from microgpt.engine.compare.compare import summarise as compare
    from microgpt.engine.notebook import fit, train
    from microgpt.engine.trained.evaluate import evaluate
    from microgpt.engine.trained.run import Run, load
    from microgpt.errors import MicrogptError
    from microgpt.model import GPT, GPTConfig

__version__ = "0.1.0"

_HOMES = {
    "GPT": "model",
    "GPTConfig": "model",
    "ByteTokenizer": "data.tokenizer",
    "CharTokenizer": "data.tokenizer",
    "MicrogptError": "errors",
    "Run": "engine.trained.run",
    "TextDataset": "data.dataset",
    "compare": "engine.compare.compare:summarise",
    "evaluate": "engine.trained.evaluate",
    "fit": "engine.notebook",
    "load": "engine.trained.run",
    "train": "engine.notebook",
}

__all__ = [
    "GPT",
    "ByteTokenizer",
    "CharTokenizer",
    "GPTConfig",
    "MicrogptError",
    "Run",
    "TextDataset",
    "compare",
    "evaluate",
    "fit",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, own_name = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), own_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
