"""The tokenizer that a model folder of another project holds, in whichever of the usual files."""

import json
from pathlib import Path
from typing import Any

from microgpt.data.tokenizer import HFTokenizer
from microgpt.data.tokenizer.hf import LIMIT
from microgpt.engine.exchange.gguf_words import words_json
from microgpt.errors import CheckpointError
from microgpt.files import read_capped, read_json
from microgpt.text import one_line

FILES = ("tokenizer.json", "vocab.json and merges.txt")


def find_tokenizer(place: Path, size: int) -> HFTokenizer:
    """Read a tokenizer.json, or GPT-2's vocab.json and merges.txt.

    Args:
        place: a folder that holds them, or the tokenizer.json.
        size: the model's vocabulary.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if place.is_file() or (place / "tokenizer.json").is_file():
        return HFTokenizer.from_file(place if place.is_file() else place / "tokenizer.json", size)
    if (place / "vocab.json").is_file():
        return HFTokenizer(json.dumps(from_merges(place / "vocab.json", place / "merges.txt")), size)
    fix = f"put {' or '.join(FILES)} beside the weights"
    if (place / "tokenizer.model").is_file():
        fix = f"{fix}; transformers converts a tokenizer.model"
    raise CheckpointError("no tokenizer", str(place), fix)


def from_merges(vocab: Path, merges: Path) -> dict[str, Any]:
    """The tokenizer.json of GPT-2's two files; a token of no merge and more than one letter is special."""
    try:
        tokens = read_json(vocab, LIMIT)
        lines = read_capped(merges, LIMIT).decode().splitlines()
    except FileNotFoundError as error:
        raise CheckpointError("no such file", str(error.filename), "give both vocab.json and merges.txt") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(one_line(f"cannot be read ({error})"), str(vocab), "copy it again") from None
    pairs = [line for line in lines if line and not line.startswith("#version")]
    if any(line.count(" ") != 1 for line in pairs) or not all(type(i) is int for i in tokens.values()):
        raise CheckpointError("no vocabulary with merges", str(merges), "give GPT-2's vocab.json and merges.txt")
    known = {line.replace(" ", "") for line in pairs}
    added = [
        {"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for token, i in tokens.items() if len(token) > 1 and token not in known
    ]  # fmt: skip
    words = words_json("gpt-2")
    assert words is not None
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": tokens, "merges": pairs}  # fmt: skip
    return {**words, "added_tokens": added, "model": model}
