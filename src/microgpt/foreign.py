"""Recognise files of other programs where a model or a tokenizer is expected, and say what to do with them.

One table for each of the two. An entry's name is what a reader of such files can go by.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from microgpt.errors import CheckpointError
from microgpt.files import read_json
from microgpt.text import escaped

Recognise = Callable[[Path], str | None]
"""What a file or folder is, in a few words; None if it is something else."""
_JSON_LIMIT = 1 << 20
_SAFETENSORS = ("*.safetensors", "*.safetensors.index.json")


@dataclass(frozen=True)
class Foreign:
    """A kind of file or folder that is not read as it is.

    Attributes:
        fix: what to do with it.
    """

    name: str
    recognise: Recognise
    fix: str


def refuse_foreign(path: Path, kinds: "Iterable[Foreign] | None" = None) -> None:
    """Refuse a file or folder of another program where a model is expected, or of one of `kinds`.

    Raises:
        CheckpointError: it is one; says what it is and what to do.
    """
    if (found := recognised(path, MODELS if kinds is None else kinds)) is not None:
        what, kind = found
        raise CheckpointError(what, escaped(str(path)), kind.fix)


def recognised(path: Path, kinds: Iterable[Foreign]) -> tuple[str, Foreign] | None:
    """What a path holds, and its kind; None if it is missing or of no kind."""
    try:
        return next(((what, kind) for kind in kinds if (what := kind.recognise(path)) is not None), None)
    except OSError:  # unreadable: whoever reads it says why
        return None


def _matching(path: Path, *patterns: str) -> list[str]:
    """The names that match a pattern: the file's own, or those in the folder, sorted."""
    files = [path] if path.is_file() else path.iterdir() if path.is_dir() else []
    return sorted({file.name for file in files if any(file.match(pattern) for pattern in patterns)})


def _named(what: str, *patterns: str, unless: tuple[str, ...] = ()) -> Recognise:
    """Recognise files, or folders with files, by patterns of names; not where a name matches `unless`."""

    def recognise(path: Path) -> str | None:
        found = [] if _matching(path, *unless) else _matching(path, *patterns)
        return f"{what} ({escaped(found[0])})" if found else None

    return recognise


def _file(what: str, *patterns: str) -> Recognise:
    """Recognise a file that is given where its folder, or another file, is meant."""
    by_name = _named(what, *patterns)
    return lambda path: by_name(path) if path.is_file() else None


def _adapter(path: Path) -> str | None:
    folder = path if path.is_dir() else path.parent
    if not _matching(path, "adapter_config.json", "adapter_model.*"):
        return None
    try:
        base = read_json(folder / "adapter_config.json", _JSON_LIMIT).get("base_model_name_or_path")
    except (OSError, ValueError):
        base = None
    of = f" of {escaped(base)[:80]}" if isinstance(base, str) and base else ""
    return f"a PEFT adapter, which holds only changes{of}"


def _gguf(path: Path) -> str | None:
    if path.is_file() and not path.match("*.gguf"):
        with path.open("rb") as file:
            return "a GGUF file, as llama.cpp has" if file.read(4) == b"GGUF" else None
    found = [] if _matching(path, *_SAFETENSORS) else _matching(path, "*.gguf")
    return f"a GGUF file, as llama.cpp has ({escaped(found[0])})" if found else None


def _checkpoint(path: Path) -> str | None:
    is_own = (path / "manifest.json").is_file() and (path / "weights.safetensors").is_file()
    is_folder_of_them = path.name == "checkpoints" and any(path.glob("step-*"))
    return "a checkpoint of a run, to resume from" if is_own or is_folder_of_them else None


def _runs(path: Path) -> str | None:
    if not path.is_dir():
        return None
    runs = sorted(p.parent.parent.name for p in path.glob("*/model/config.json"))
    return f"a folder of {len(runs)} runs, such as {escaped(runs[-1])}" if runs else None


MODELS = (
    Foreign("peft", _adapter, "merge it into its base model: microgpt-import peft ADAPTER OUT --base FOLDER"),
    Foreign("gguf", _gguf, "convert it: microgpt-import gguf FILE OUT"),
    Foreign("checkpoint", _checkpoint, "name the folder of its run"),
    Foreign("litgpt", _named("a checkpoint of litgpt", "lit_model.pth"),
            "convert its folder: microgpt-import litgpt FOLDER OUT"),
    Foreign("pickle", _named("pickled weights, which can run code", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl",
                             unless=_SAFETENSORS),
            "convert them, which reads weights alone: microgpt-import hf FOLDER OUT; "
            "for nanoGPT's ckpt.pt microgpt-import nanogpt, for minGPT's model.pt microgpt-import mingpt"),
    Foreign("other", _named("weights of another framework", "*.h5", "*.msgpack", "*.onnx", "*.pb", "*.tflite", "*.npz",
                            unless=_SAFETENSORS),
            "take the model as safetensors with config.json and tokenizer.json"),
    Foreign("archive", _named("an archive", "*.zip", "*.tar", "*.tar.*", "*.tgz", "*.gz", "*.xz", "*.7z",
                              unless=("config.json", *_SAFETENSORS)), "unpack it and give the folder"),
    Foreign("file", _file("one file of a model", "*.json", "*.safetensors"), "give the folder that holds it"),
    Foreign("weights", _named("weights without a configuration", *_SAFETENSORS, unless=("config.json",)),
            "give a folder that holds config.json and tokenizer.json beside them"),
    Foreign("runs", _runs, "name one of them"),
    Foreign("text", _file("a text", "*.txt", "*.md", "*.csv", "*.yaml", "*.py"),
            "name a run or a model; to train on a text: microgpt-train data.path=FILE"),
)  # fmt: skip
"""What people give for a model, the most exact first."""

_CONVERT = "make a tokenizer.json of it: transformers' AutoTokenizer.from_pretrained(FOLDER), then save_pretrained(OUT)"
_IMPORT = "convert the model with it: microgpt-import hf FOLDER OUT"
TOKENIZERS = (
    Foreign("bpe", _named("GPT-2's vocabulary and merges, without a tokenizer.json", "vocab.json", "merges.txt",
                          unless=("tokenizer.json",)), _IMPORT),
    Foreign("sentencepiece", _named("a SentencePiece model, without a tokenizer.json", "*.model", "*.spm",
                                    unless=("tokenizer.json",)), _IMPORT),
    Foreign("tiktoken", _named("tiktoken's ranks, without a tokenizer.json", "*.tiktoken",
                               unless=("tokenizer.json",)), _CONVERT),
    Foreign("wordpiece", _named("a list of word pieces, without a tokenizer.json", "vocab.txt",
                                unless=("tokenizer.json",)), _CONVERT),
    Foreign("gguf", _gguf, "take the tokenizer.json of the model that it was made from"),
    Foreign("pickle", _named("a pickle, which can run code", "*.pkl", "*.pickle", unless=("tokenizer.json",)),
            "for nanoGPT's meta.pkl: microgpt-import nanogpt CKPT OUT --meta meta.pkl"),
    Foreign("file", _file("no tokenizer.json", "*config.json", "*.safetensors", "*.txt"),
            "name the tokenizer.json beside it"),
)  # fmt: skip
"""What people give for a tokenizer."""
