"""A tokenizer as the vocabulary of a GGUF file, and back (llama.cpp's src/llama-vocab.cpp).

llama.cpp knows a few kinds of vocabulary; these three give our tokenizers' tokens:

    gpt2    byte-level byte pair encoding, with the name of the pattern that cuts a text into words
    gemma4  a vocabulary of characters, which leaves out unknown ones and begins every prompt with a certain token
    rwkv    a vocabulary of byte strings

The kinds differ in the tokens that llama.cpp takes for the end of a text if the file names none: `gpt2` takes token 11,
the others none. A vocabulary of ASCII characters or bytes is therefore `rwkv`. Other characters cannot be: an unknown
one that shares its first byte with a known one makes llama.cpp loop for ever. They are `gemma4`, which adds a first
token to a prompt; it is the new line with which we begin an empty one. A byte pair encoding without an end token names
the byte 0xFF, which no text in UTF-8 has.

A model of documents names its own start and end tokens. `rwkv` cannot begin a prompt with one: characters are then
always `gemma4`, and bytes a `gpt2` without merges.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from microgpt.data.document_format import DocumentFormat
from microgpt.data.tokenizer import ByteTokenizer, CharTokenizer, HFTokenizer, Tokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.data.tokenizer.hf_format import ALPHABET, added_token, bpe_model
from microgpt.engine.exchange.gguf_words import word_pattern, words_json
from microgpt.errors import CheckpointError, UsageError
from microgpt.model.files.gguf import GGUFHeader
from microgpt.model.files.untrusted import damaged
from microgpt.text import shown

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"llama.cpp's types of tokens."
SPACE = "\u2581"
"The character that stands for a space in a `gemma4` vocabulary."
NO_TEXT = ALPHABET[0xFF]
"The letter of a byte that UTF-8 never has."
DOCUMENTS = "microgpt.documents"
"The key of `Vocabulary.documents`."
NEVER = "a \n"
"A merge that never happens: words end before a new line. llama.cpp refuses a vocabulary without merges."


@dataclass
class Vocabulary:
    """The part of a GGUF file that describes the tokenizer."""

    model: str
    "The kind of vocabulary."
    tokens: list[str]
    types: list[int]
    pre: str | None = None
    "The name of the pattern of words."
    merges: list[str] = field(default_factory=list)
    bos: int | None = None
    eos: int | None = None
    unknown: int | None = None
    add_bos: bool = False
    documents: str | None = None
    "How the training text divides into documents, as JSON, which llama.cpp passes over."


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """Describe a tokenizer to llama.cpp.

    Raises:
        UsageError: llama.cpp cannot express it; says why.
    """
    if isinstance(tokenizer, DocumentTokenizer):
        return of_documents(tokenizer)
    if isinstance(tokenizer, ByteTokenizer):
        return byte_strings([bytes([i]) for i in range(256)])
    if isinstance(tokenizer, CharTokenizer):
        return of_characters(tokenizer)
    if isinstance(tokenizer, HFTokenizer):
        return of_subwords(tokenizer)
    raise refused(f"a tokenizer of kind {tokenizer.name!r}")


def refused(what: str) -> UsageError:
    """The error for a tokenizer that llama.cpp does not have."""
    return UsageError(f"{what}, which llama.cpp does not have", "the tokenizer", "export with --format safetensors")


def byte_strings(tokens: list[bytes], unknown: int | None = None) -> Vocabulary:
    """A vocabulary of byte strings, of which llama.cpp takes the longest that fits."""
    escaped = ["".join(f"\\x{byte:02x}" for byte in token) for token in tokens]
    return Vocabulary("rwkv", escaped, [NORMAL] * len(tokens), unknown=unknown)


def of_documents(tokenizer: DocumentTokenizer) -> Vocabulary:
    """The vocabulary of a document's text, with the tokens that start and end one."""
    inner = tokenizer.inner
    if isinstance(inner, ByteTokenizer):
        letters = [ALPHABET[i] for i in range(256)]
        found = Vocabulary("gpt2", letters, [NORMAL] * 256, "gpt-2", [f"{NO_TEXT} {NO_TEXT}"])
    elif isinstance(inner, CharTokenizer):
        found = of_characters(inner, is_started=True)
    else:
        found = vocabulary(inner)
    if not tokenizer.boundaries:
        if set(tokenizer.names) & set(found.tokens):
            raise refused(f"a vocabulary with {' or '.join(tokenizer.names)} of its own")
        found.tokens += tokenizer.names
        found.types += [CONTROL, CONTROL]
    found.bos, found.eos, found.add_bos = tokenizer.start, tokenizer.end, True
    found.documents = json.dumps(tokenizer.form.to_dict())
    return found


def of_characters(tokenizer: CharTokenizer, is_started: bool = False) -> Vocabulary:
    """A vocabulary of characters; `is_started` if a prompt begins with a token that is none."""
    characters = tokenizer.characters
    if tokenizer.vocab_size != len(characters):
        raise refused("a vocabulary of characters and other tokens")
    for odd in (SPACE, "\0"):
        if odd in characters:
            raise refused(f"a vocabulary with the character U+{ord(odd):04X}")
    if any("\ud800" <= c <= "\udfff" for c in characters):
        raise refused("a vocabulary with half of a surrogate pair")
    if all(c.isascii() for c in characters) and not is_started:
        stand_in = next((characters.index(c) for c in "? " if c in characters), 0)
        return byte_strings([c.encode() for c in characters], unknown=stand_in)
    start = characters.index("\n") if "\n" in characters else 0
    tokens = [c.replace(" ", SPACE) for c in characters]
    return Vocabulary("gemma4", tokens, [NORMAL] * len(tokens), merges=[NEVER], bos=start, add_bos=True)


def of_subwords(tokenizer: HFTokenizer) -> Vocabulary:
    """A byte-level byte pair encoding."""
    description = json.loads(tokenizer.tokenizer_json())
    model = description.get("model") or {}
    if model.get("type", "BPE") != "BPE" or model.get("byte_fallback"):
        raise refused(f"a tokenizer of type {model.get('type')}, not a byte-level BPE")
    pre = word_pattern(description)
    if pre is None:
        what = "a tokenizer that cuts texts into words as none that llama.cpp knows"
        raise UsageError(what, "the tokenizer", "export with --format hf, or train with data.tokenizer=bpe")
    added = {token["id"]: token for token in description.get("added_tokens") or ()}
    names = {i: name for name, i in model.get("vocab", {}).items()} | {i: t["content"] for i, t in added.items()}
    tokens = [names.get(i, f"[PAD{i}]") for i in range(tokenizer.vocab_size)]
    types = [NORMAL if i in names else UNUSED for i in range(tokenizer.vocab_size)]
    for i, token in added.items():
        types[i] = CONTROL if token.get("special") else USER_DEFINED
    if len(set(tokens)) != len(tokens):
        raise refused("a vocabulary with a token that stands twice")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", ())]
    end = tokenizer.end_token()
    eos = end[0] if end else next((i for i, name in names.items() if name == NO_TEXT), None)
    if eos is None:
        raise refused("a vocabulary without an end token and without the byte 0xFF")
    return Vocabulary("gpt2", tokens, types, pre, merges or [f"{NO_TEXT} {NO_TEXT}"], bos=eos, eos=eos)


def tokenizer_of(header: GGUFHeader) -> Tokenizer:
    """The tokenizer that a GGUF file describes.

    Raises:
        CheckpointError: the vocabulary is damaged, or of a kind that we do not read.
    """
    kind, path = header.get("tokenizer.ggml.model", str), header.path
    tokens = header.get("tokenizer.ggml.tokens", list)
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise damaged(path, "no list of tokens")
    if (form := header.get(DOCUMENTS, str, "")) and kind in ("gpt2", "gemma4"):
        return _from_documents(header, tokens, form)
    if kind == "rwkv":
        return _from_byte_strings(tokens, path)
    if kind == "gemma4" and _are_characters(tokens):
        return CharTokenizer([token.replace(SPACE, " ") for token in tokens])
    if kind == "gpt2":
        tokenizer = _from_subwords(header, tokens)
        end = header.get("tokenizer.ggml.eos_token_id", int, -1)
        is_end = 0 <= end < len(tokens) and tokens[end] != NO_TEXT
        return tokenizer.with_ends([end]) if is_end and tokenizer.end_tokens() != (end,) else tokenizer
    fix = "take the model from a folder with a tokenizer.json"
    raise CheckpointError(f"a vocabulary of kind {shown(kind)}, which we do not read", str(path), fix)


def _are_characters(tokens: list[str]) -> bool:
    return all(len(token) == 1 for token in tokens) and len(set(tokens)) == len(tokens)


def _from_documents(header: GGUFHeader, tokens: list[str], form: str) -> DocumentTokenizer:
    """The tokenizer of a model of documents that we wrote."""
    start, end = (header.get(f"tokenizer.ggml.{name}_token_id", int, -1) for name in ("bos", "eos"))
    try:
        documents = DocumentFormat.from_dict(json.loads(form))
    except (ValueError, RecursionError):
        raise damaged(header.path, "its form of documents is no JSON") from None
    is_own = (start, end) == (len(tokens) - 2, len(tokens) - 1)
    texts = tokens[:-2] if is_own else tokens
    if not (0 <= start < len(tokens) and 0 <= end < len(tokens) and texts):
        raise damaged(header.path, "the tokens of a document's start and end are none of its tokens")
    if header.get("tokenizer.ggml.model", str) == "gpt2":
        inner: Tokenizer = _from_subwords(header, texts)
    elif is_own and _are_characters(texts):
        inner = CharTokenizer([token.replace(SPACE, " ") for token in texts])
    else:
        raise damaged(header.path, "its tokens are no characters")
    return DocumentTokenizer(inner, documents, None if is_own else (start, end))


def _from_byte_strings(tokens: list[str], path: Path) -> Tokenizer:
    try:
        texts = [bytes.fromhex(token.replace("\\x", "")) for token in tokens]
        if texts == [bytes([i]) for i in range(256)]:
            return ByteTokenizer()
        characters = [text.decode() for text in texts]
    except ValueError:
        characters = []
    if not characters or any(len(c) != 1 for c in characters) or len(set(characters)) != len(characters):
        raise CheckpointError("a vocabulary of byte strings that are not characters", str(path))
    return CharTokenizer(characters)


def _from_subwords(header: GGUFHeader, tokens: list[str]) -> HFTokenizer:
    pre = header.get("tokenizer.ggml.pre", str)
    merges = header.get("tokenizer.ggml.merges", list, [])
    types: Any = header.metadata.get("tokenizer.ggml.token_type", [NORMAL] * len(tokens))
    words = words_json(pre)
    if words is None:
        raise CheckpointError(f"a pre-tokenizer {shown(pre)}, which we do not read", str(header.path))
    types = types[: len(tokens)]  # without those of a document's start and end
    if len(types) != len(tokens) or not all(isinstance(m, str) and m.count(" ") == 1 for m in merges):
        raise damaged(header.path, "its types or merges do not fit its tokens")
    if len(set(tokens)) != len(tokens):
        raise damaged(header.path, "a token stands twice")
    kinds = [int(kind) for kind in types]
    added = [
        added_token(i, token, kinds[i] == CONTROL)
        for i, token in enumerate(tokens)
        if kinds[i] in (CONTROL, USER_DEFINED)
    ]
    vocab = {token: i for i, token in enumerate(tokens) if kinds[i] in (NORMAL, CONTROL, USER_DEFINED)}
    known = [m for m in merges if m.replace(" ", "") in vocab]
    model = bpe_model(vocab, known, **words["model"])
    return HFTokenizer(json.dumps(words | {"added_tokens": added, "model": model}), len(tokens))
