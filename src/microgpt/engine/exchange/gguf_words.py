"""The patterns that cut a text into words before byte pair encoding: llama.cpp's names and tokenizer.json's parts."""

from dataclasses import dataclass
from typing import Any

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Words:
    """A way to cut a text into words."""

    names: tuple[str, ...]
    "llama.cpp's names of it; the first is the one we write."
    parts: tuple[dict[str, Any], ...]
    "The steps of tokenizer.json's pre_tokenizer."
    ignore_merges: bool = False
    "Whether a word that is a token as a whole is taken as it is."


def split(pattern: str) -> dict[str, Any]:
    """The step that cuts a text by a pattern."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


PATTERNS = (
    Words(("gpt-2",), ({**BYTES, "use_regex": True},)),
    Words(("smollm",), ({"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True})),
    Words(("llama-bpe", "llama3", "llama-v3"), (split(LLAMA3), {**BYTES, "use_regex": False}), ignore_merges=True),
    Words(("qwen2",), (split(QWEN2), {**BYTES, "use_regex": False})),
)


def steps(pre_tokenizer: Any) -> list[dict[str, Any]]:
    """The steps of a pre_tokenizer, without offsets' settings and with the defaults filled in."""
    if not isinstance(pre_tokenizer, dict):
        return []
    if pre_tokenizer.get("type") == "Sequence":
        return [step for part in pre_tokenizer.get("pretokenizers", ()) for step in steps(part)]
    step = {key: value for key, value in pre_tokenizer.items() if key != "trim_offsets"}
    return [{"use_regex": True, **step} if step.get("type") == "ByteLevel" else step]


def word_pattern(description: dict[str, Any]) -> str | None:
    """llama.cpp's name for how a tokenizer.json cuts texts into words, None if it has none.

    llama.cpp does not normalize texts; NFC alone is let pass, as it changes no text that is in this form.
    """
    normalizer = description.get("normalizer")
    if normalizer is not None and normalizer.get("type") != "NFC":
        return None
    model = description.get("model") or {}
    found = steps(description.get("pre_tokenizer"))
    for words in PATTERNS:
        if found == [step for part in words.parts for step in steps(part)]:
            return words.names[0] if bool(model.get("ignore_merges")) == words.ignore_merges else None
    return None


def words_json(name: str | None) -> dict[str, Any] | None:
    """The parts of a tokenizer.json for llama.cpp's name, None if we do not know it."""
    words = next((words for words in PATTERNS if name in words.names), None)
    if words is None:
        return None
    decoder = {**BYTES, "use_regex": True}
    pre = words.parts[0] if len(words.parts) == 1 else {"type": "Sequence", "pretokenizers": list(words.parts)}
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": pre,
            "post_processor": None, "decoder": decoder, "model": {"ignore_merges": words.ignore_merges}}  # fmt: skip
