"""The tokens at which a Hugging Face model ends a text, as its files name them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from microgpt.model.files.hf.source import CONFIG
from microgpt.model.files.untrusted import read_json

GENERATION = "generation_config.json"


def end_tokens(folder: Path, vocab_size: int) -> tuple[int, ...]:
    """The `eos_token_id` of a folder, one or several; empty if it names none.

    Like transformers, this prefers generation_config.json to config.json. Numbers beyond the vocabulary, which small
    models inherit from the defaults of transformers, count as absent.
    """
    for name in (GENERATION, CONFIG):
        path = folder / name
        if path.is_file() and (found := tuple(_numbers(read_json(path, limit=1 << 20).get("eos_token_id")))):
            return tuple(number for number in found if number < vocab_size)
    return ()


def _numbers(value: Any) -> Iterator[int]:
    for number in value if isinstance(value, list) else [value]:
        if type(number) is int and number >= 0:
            yield number
