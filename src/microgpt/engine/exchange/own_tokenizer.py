"""The tokenizer that a model folder of another project holds, in whichever of the usual files."""

import json
from pathlib import Path
from typing import Any

from microgpt.data.tokenizer import HFTokenizer
from microgpt.data.tokenizer.hf import LIMIT
from microgpt.data.tokenizer.hf_format import added_token, bpe_model
from microgpt.engine.exchange.gguf_words import words_json
from microgpt.engine.exchange.spm_tokenizer import from_spm
from microgpt.errors import CheckpointError
from microgpt.files import read_capped, read_json
from microgpt.text import one_line

FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
"The files that a tokenizer is read from, the first that is there; merges.txt stands beside vocab.json."


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds one of these files."""
    return any((folder / name).is_file() for name in FILES)


def find_tokenizer(place: Path, size: int) -> HFTokenizer:
    """Read a tokenizer.json, GPT-2's vocab.json and merges.txt, or a tokenizer.model of SentencePiece.

    Args:
        place: a folder that holds them, or the tokenizer.json or tokenizer.model.
        size: the model's vocabulary.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if place.suffix == ".model" and place.is_file():
        return HFTokenizer(json.dumps(from_spm(place)), size)
    if place.is_file() or (place / "tokenizer.json").is_file():
        return HFTokenizer.from_file(place if place.is_file() else place / "tokenizer.json", size)
    if (place / "vocab.json").is_file():
        return HFTokenizer(json.dumps(from_merges(place / "vocab.json", place / "merges.txt")), size)
    if (place / "tokenizer.model").is_file():
        return find_tokenizer(place / "tokenizer.model", size)
    raise CheckpointError("no tokenizer", str(place), f"put {' or '.join(FILES)} beside the weights")


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
    added = [added_token(i, token, True) for token, i in tokens.items() if len(token) > 1 and token not in known]
    words = words_json("gpt-2")
    assert words is not None
    return {**words, "added_tokens": added, "model": bpe_model(tokens, pairs)}
