"""Files of other programs, given for a model or a tokenizer, are named in one line that says what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt import load
from microgpt.data.tokenizer import CharTokenizer, HFTokenizer
from microgpt.engine.commands import evaluate, export, generate, import_
from microgpt.engine.fit.finetune import load_pretrained
from microgpt.errors import CheckpointError
from microgpt.foreign import MODELS, TOKENIZERS, recognised
from microgpt.model import GPT, GPTConfig, save_model
from microgpt.model.files.hf import locate, read_model, write_model

Make = Callable[[Path], Path]


def file(name: str, content: bytes | str = b"\0\1\2") -> Make:
    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def folder_of(*files: Make) -> Make:
    def make(folder: Path) -> Path:
        for one in files:
            one(folder / "given")
        return folder / "given"

    return make


def small() -> GPT:
    torch.manual_seed(0)
    parts = {"norm": "layernorm", "pos": "learned", "bias": True, "mlp": "gelu_tanh", "tie_weights": True}
    return GPT(GPTConfig.from_dict({"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8, **parts}), 3)


def run_folder(folder: Path) -> Path:
    save_model(folder / "runs" / "mine" / "model", small(), CharTokenizer("abc").to_dict())
    return folder / "runs"


def bare_weights(folder: Path) -> Path:
    (folder / "given").mkdir()
    write_model(folder / "given", small())
    (folder / "given" / "config.json").unlink()
    return folder / "given"


def torch_bin(folder: Path) -> Path:
    """An older folder of transformers: everything is right but the weights' format."""
    (folder / "given").mkdir()
    write_model(folder / "given", small())
    (folder / "given" / "model.safetensors").unlink()
    torch.save(small().state_dict(), folder / "given" / "pytorch_model.bin")
    return folder / "given"


def pickled(folder: Path) -> Path:
    torch.save(small().state_dict(), folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


GGUF, HF = "microgpt-import gguf", "microgpt-import hf"
ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "openai-community/gpt2"})
GIVEN: dict[str, tuple[Make, str, str]] = {
    "adapter": (folder_of(file("adapter_config.json", ADAPTER), file("adapter_model.safetensors")),
                "a PEFT adapter, which holds only changes of openai-community/gpt2", "microgpt-import peft"),
    "adapter without base": (folder_of(file("adapter_config.json", "{"), file("adapter_model.bin")),
                             "a PEFT adapter, which holds only changes in", "microgpt-import peft"),
    "adapter file": (file("adapter_model.safetensors"), "a PEFT adapter", "microgpt-import peft"),
    "gguf": (file("model.gguf", b"GGUF\3\0\0\0"), "a GGUF file, as llama.cpp has (model.gguf)", GGUF),
    "gguf by another name": (file("model-q4", b"GGUF\3\0\0\0"), "a GGUF file", GGUF),
    "gguf in a folder": (folder_of(file("README.md"), file("a.gguf")), "llama.cpp has (a.gguf)", GGUF),
    "pytorch_model.bin": (pickled, "pickled weights, which can run code (pytorch_model.bin)", HF),
    "folder with a .bin": (torch_bin, "pickled weights, which can run code (pytorch_model.bin)", HF),
    "folder with shards": (folder_of(file("pytorch_model-00001-of-00002.bin"), file("pytorch_model.bin.index.json")),
                           "pickled weights", HF),
    "litgpt": (folder_of(file("lit_model.pth"), file("model_config.yaml", "{}")), "a checkpoint of litgpt",
               "microgpt-import litgpt"),
    "ckpt.pt": (file("ckpt.pt"), "pickled weights", "microgpt-import nanogpt"),
    "lightning": (file("last.ckpt"), "pickled weights", HF),
    "tensorflow": (folder_of(file("tf_model.h5")), "weights of another framework (tf_model.h5)", "as safetensors"),
    "flax": (folder_of(file("flax_model.msgpack")), "weights of another framework", "as safetensors"),
    "onnx": (file("model.onnx"), "weights of another framework", "as safetensors"),
    "archive": (file("model.tar.gz"), "an archive (model.tar.gz)", "unpack it"),
    "zip": (folder_of(file("model.zip", b"PK")), "an archive (model.zip)", "unpack it"),
    "weights": (bare_weights, "weights without a configuration (model.safetensors)", "config.json and tokenizer.json"),
    "weights file": (lambda f: bare_weights(f) / "model.safetensors", "one file of a model", "the folder that holds"),
    "config file": (file("config.json", "{}"), "one file of a model (config.json)", "the folder that holds it"),
    "runs": (run_folder, "a folder of 1 runs, such as mine", "name one of them"),
    "text": (file("book.txt", "the cat"), "a text (book.txt)", "microgpt-train data.path=FILE"),
    "name that drives a terminal": (file("a\x1b[2J.gguf"), "(a\\x1b[2J.gguf)", GGUF),
}  # fmt: skip
VOCAB = "GPT-2's vocabulary and merges, without a tokenizer.json"
TOKENS: dict[str, tuple[Make, str, str]] = {
    "gpt2": (folder_of(file("vocab.json", '{"a": 0}'), file("merges.txt", "#version: 0.2\n")), VOCAB, HF),
    "vocab.json": (file("vocab.json", '{"a": 0}'), VOCAB, HF),
    "merges.txt": (file("merges.txt", "#version: 0.2\n"), VOCAB, HF),
    "sentencepiece": (folder_of(file("tokenizer.model")), "a SentencePiece model", HF),
    "spiece": (file("spiece.model"), "a SentencePiece model", HF),
    "tiktoken": (file("o200k_base.tiktoken"), "tiktoken's ranks", "AutoTokenizer"),
    "bert": (folder_of(file("vocab.txt", "[PAD]\n[UNK]\n")), "a list of word pieces", "AutoTokenizer"),
    "gguf": (file("model.gguf", b"GGUF"), "a GGUF file", "the tokenizer.json of the model"),
    "meta.pkl": (file("meta.pkl"), "a pickle, which can run code (meta.pkl)", "--meta meta.pkl"),
    "config": (file("tokenizer_config.json", "{}"), "no tokenizer.json (tokenizer_config.json)", "beside it"),
}  # fmt: skip


def refusal(read: Callable[[], Any]) -> str:
    with pytest.raises(CheckpointError) as error:
        read()
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize("given", GIVEN)
def test_what_is_no_model_is_named_with_what_to_do(
    given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, what, fix = GIVEN[given]
    path = make(tmp_path)
    said = refusal(lambda: load(path))
    assert what in said
    assert fix in said
    assert refusal(lambda: read_model(locate(path))) == said
    assert refusal(lambda: load_pretrained(GPTConfig(pretrained=str(path)))) == said
    for command in (generate, evaluate):
        assert command.main([str(path)]) == 4
        assert capsys.readouterr().err == f"microgpt: error: {said}\n"
    assert export.main([str(path), str(tmp_path / "out"), "--format", "safetensors"]) == 4
    assert capsys.readouterr().err == f"microgpt: error: {said}\n"
    if "pickled" not in what:
        assert import_.main(["nanogpt", str(path), str(tmp_path / "out"), "--meta", "meta.pkl"]) == 4
        assert capsys.readouterr().err == f"microgpt: error: {said}\n"


@pytest.mark.parametrize("given", TOKENS)
def test_what_is_no_tokenizer_is_named_with_what_to_do(given: str, tmp_path: Path) -> None:
    make, what, fix = TOKENS[given]
    path = make(tmp_path)
    said = refusal(lambda: HFTokenizer.from_file(path if path.is_file() else path / "tokenizer.json"))
    assert what in said
    assert fix in said


def test_a_model_with_gpt2s_old_tokenizer_files_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, small())
    file("vocab.json", '{"a": 0}')(tmp_path)
    file("merges.txt", "#version: 0.2\n")(tmp_path)
    assert generate.main([str(tmp_path)]) == 4
    assert VOCAB in capsys.readouterr().err


def test_every_kind_is_met_by_an_example() -> None:
    """A kind without an example above could be wrong for ever."""
    reached = {what.split(" (")[0].split(",")[0] for _, what, _ in (*GIVEN.values(), *TOKENS.values())}
    assert len(MODELS) <= len(GIVEN)
    assert len(TOKENIZERS) <= len(TOKENS)
    assert len({kind.name for kind in MODELS}) == len(MODELS)
    assert len(reached) >= len(MODELS) + len(TOKENIZERS) - 3  # GGUF and pickles are in both


def test_our_own_folders_are_not_foreign(tmp_path: Path) -> None:
    runs = run_folder(tmp_path)
    (tmp_path / "hf").mkdir()
    write_model(tmp_path / "hf", small())
    for own in (runs / "mine", runs / "mine" / "model", tmp_path / "hf", tmp_path / "missing"):
        assert recognised(own, MODELS) is None
        assert recognised(own, TOKENIZERS) is None
