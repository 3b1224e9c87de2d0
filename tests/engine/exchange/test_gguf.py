"""GGUF: llama.cpp gives our tokens, logits and text; files come back with equal logits; damaged ones are refused."""

import json
import random
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from microgpt import ByteTokenizer, CharTokenizer, load
from microgpt.data.document_format import DocumentFormat
from microgpt.data.tokenizer import BPETokenizer, HFTokenizer, Tokenizer
from microgpt.data.tokenizer.documents import DocumentTokenizer
from microgpt.engine.commands.export import main
from microgpt.engine.commands.import_ import main as import_main
from microgpt.engine.exchange.export import export
from microgpt.engine.exchange.gguf_vocabulary import tokenizer_of, vocabulary
from microgpt.engine.exchange.gguf_words import LLAMA3, QWEN2, split
from microgpt.engine.trained.run import Run
from microgpt.errors import CheckpointError, MicrogptError, UsageError
from microgpt.model import GPT, GPTConfig, save_model
from microgpt.model.files.gguf import read_gguf, read_header
from microgpt.model.files.gguf.blocks import FORMATS

SCRIPTS = Path(__file__).parents[3] / "scripts" / "exchange"
TEXT = "The cat's hat, naïve café.\n\n  日本語 🎩\t1234 – don't!\r\nDe reis: “één” ÷ ½, we'll see   \n"
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "n_kv_head": 2},
    "qwen3": {"norm": "rmsnorm", "pos": "rope", "mlp": "swiglu", "qk_norm": True},
    "gpt2": {"norm": "layernorm", "pos": "learned", "mlp": "gelu_tanh", "bias": True, "tie_weights": True},
}


def tokenizer(kind: str, text: str = TEXT) -> Tokenizer:
    if kind == "byte":
        return ByteTokenizer()
    if kind == "bpe":
        return BPETokenizer.from_texts([text * 20], 330)
    return CharTokenizer.from_text("".join(c for c in text if c.isascii()) if kind == "ascii" else text)


def made(folder: Path, family: str, tokens: Tokenizer, **knobs: Any) -> Run:
    """A model with random weights, biases and gains."""
    torch.manual_seed(0)
    config = {"n_layer": 2, "n_head": 4, "n_embd": 64, "block_size": 96, **FAMILIES[family], **knobs}
    model = GPT(GPTConfig.from_dict(config), tokens.vocab_size).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    return Run(folder, model, tokens)


def written(run: Run, path: Path, type: str = "f32") -> Path:
    pytest.importorskip("gguf", reason="gguf is not installed")
    export(run, path, {"name": "gguf", "type": type})
    return path


@pytest.fixture(scope="module")
def llama_cpp() -> Any:
    """The script that opens llama.cpp."""
    pytest.importorskip("xllamacpp", reason="the extra exchange is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield import_module("check_llama_cpp")


@pytest.mark.parametrize("kind", ["char", "ascii", "byte", "bpe"])
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_gives_our_tokens_logits_and_text(llama_cpp: Any, tmp_path: Path, family: str, kind: str) -> None:
    run = made(tmp_path, family, tokenizer(kind))
    texts = [TEXT, TEXT * 40, "  the  cat\n\n\nsat", "1st, 22nd & 333rd", "A"]
    if kind == "ascii":  # others become a stand-in, once for each byte
        texts = [run.tokenizer.decode(run.tokenizer.with_unknown("skip").encode(text)) for text in texts]
    found = llama_cpp.compare(run, written(run, tmp_path / "model.gguf"), texts)
    assert found["tokens"] == [True] * len(texts)
    assert found["logits"] < 1e-3
    assert found["greedy"]
    assert found["stop"] == "limit"


def test_llama_cpp_takes_no_ordinary_token_for_the_first_or_the_last(llama_cpp: Any, tmp_path: Path) -> None:
    for kind in ("char", "ascii", "byte", "bpe"):
        run = made(tmp_path, "llama", tokenizer(kind))
        before = run.tokenizer.encode("\n") if kind == "char" else []  # what we begin an empty prompt with
        theirs = llama_cpp.LlamaCpp(written(run, tmp_path / f"{kind}.gguf"), 96)
        assert theirs.encode("cat", special=True) == [*before, *run.tokenizer.encode("cat")]
        header = read_header(tmp_path / f"{kind}.gguf")
        end = header.get("tokenizer.ggml.eos_token_id", int)
        assert (end is None) == (kind != "bpe")
        if end is not None:
            assert end not in run.tokenizer.encode("".join(map(chr, range(0xD800))))
        # Each token, made the only likely one, is generated without an end.
        for token in range(0, run.model.vocab_size, 7):
            answer = theirs.complete([1, 2], 3, logit_bias=[[token, 1e4]])
            assert answer["tokens"] == [token] * 3


def test_an_end_token_ends_a_text(llama_cpp: Any, tmp_path: Path) -> None:
    tokens = with_end(tokenizer("bpe"))
    end = tokens.end_token()
    assert end is not None
    run = made(tmp_path, "qwen3", tokens)
    theirs = llama_cpp.LlamaCpp(written(run, tmp_path / "model.gguf"), 96)
    answer = theirs.complete([1, 2], 9, logit_bias=[[end[0], 1e4]])
    assert answer["stop_type"] == "eos"
    again = tokenizer_of(read_header(tmp_path / "model.gguf"))
    assert again.end_token() == end == (0, "<|endoftext|>")
    assert again.encode("a<|endoftext|>b") == tokens.encode("a<|endoftext|>b")


def of_documents(kind: str) -> DocumentTokenizer:
    """A tokenizer of documents, whose boundaries are its own, or a pretrained vocabulary's."""
    form = DocumentFormat("jsonl", jsonl_key="story")
    if kind == "pretrained":
        return DocumentTokenizer(with_end(tokenizer("bpe")), form, (0, 0))
    return DocumentTokenizer(tokenizer(kind), form)


@pytest.mark.parametrize("kind", ["char", "ascii", "byte", "bpe", "pretrained"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_llama_cpp_begins_and_ends_the_documents_of_a_model_as_we_do(
    llama_cpp: Any, tmp_path: Path, family: str, kind: str
) -> None:
    tokens = of_documents(kind)
    run = made(tmp_path, family, tokens)
    start, end = tokens.start, tokens.end
    texts = [TEXT, "  the  cat\n\n\nsat", "A"]
    if kind == "ascii":
        texts = [run.tokenizer.decode(run.tokenizer.with_unknown("skip").encode(text)) for text in texts]
    path = written(run, tmp_path / "model.gguf")
    found = llama_cpp.compare(run, path, texts, n=20)
    assert found["tokens"] == [True] * len(texts)
    assert found["logits"] < 1e-3
    assert found["greedy"]
    theirs = llama_cpp.LlamaCpp(path, 96)
    assert theirs.encode("cat", special=True) == run.tokenizer.prompt("cat")
    assert theirs.encode("", special=True) == [start]
    for token in range(0, run.model.vocab_size, 7):
        answer = theirs.complete([start], 3, logit_bias=[[token, 1e4]])
        assert answer["stop_type"] == ("eos" if token == end else "limit")
    assert theirs.complete([start], 3, logit_bias=[[end, 1e4]])["stop_type"] == "eos"
    again = tokenizer_of(read_header(path))
    assert isinstance(again, DocumentTokenizer)
    assert (again.form, again.boundaries) == (tokens.form, tokens.boundaries)
    assert (again.start, again.end, again.end_tokens()) == (start, end, run.tokenizer.end_tokens())
    assert again.encode(texts[1]) == run.tokenizer.encode(texts[1])
    assert again.decode([start, *again.encode("cat"), end]) == "cat\n"


def put(change: dict[str, Any], fields: dict[str, Any]) -> None:
    fields.update(change)


@pytest.mark.parametrize(
    "odd", ["", "{", '{"kind": "rows"}', "[]", '{"kind": "lines", "separator": "", "jsonl_key": "t"}']
)
def test_a_damaged_form_of_documents_is_one_line(tmp_path: Path, odd: str) -> None:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    path = written(made(tmp_path, "llama", of_documents("char")), tmp_path / "good.gguf")
    value = ([gguf.GGUFValueType.STRING], odd)
    changed = edited(path, tmp_path / "changed.gguf", lambda fields: fields.update({"microgpt.documents": value}))
    assert outcome(changed) != "read"
    for key in ("bos", "eos"):
        number = ([gguf.GGUFValueType.UINT32], 10**6)
        change = {f"tokenizer.ggml.{key}_token_id": number}
        edited(path, tmp_path / f"{key}.gguf", partial(put, change))
        assert "start and end are none of its tokens" in outcome(tmp_path / f"{key}.gguf")


def test_the_end_token_of_a_chat_model_is_read_from_the_file(tmp_path: Path) -> None:
    tokens = with_end(tokenizer("bpe"))
    run = made(tmp_path, "llama", tokens.with_ends([7]))  # not the one that its name suggests
    again = tokenizer_of(read_header(written(run, tmp_path / "model.gguf")))
    assert again.end_tokens() == (7,)
    plain = made(tmp_path, "llama", tokenizer("bpe"))  # ends at a byte that no text has, as llama.cpp needs one
    assert tokenizer_of(read_header(written(plain, tmp_path / "plain.gguf"))).end_tokens() == ()


def with_end(tokens: Tokenizer) -> HFTokenizer:
    """The same subwords with an end token."""
    description = json.loads(tokens.tokenizer_json())
    model = description["model"]
    vocab = {"<|endoftext|>": 0, **{token: i + 1 for token, i in model["vocab"].items()}}  # first, as in SmolLM2
    token = {"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}  # fmt: skip
    return HFTokenizer(json.dumps(description | {"added_tokens": [token], "model": {**model, "vocab": vocab}}))


@pytest.mark.parametrize("type", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_gguf_package_reads_the_weights_that_we_wrote(tmp_path: Path, family: str, type: str) -> None:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    run = made(tmp_path, family, tokenizer("bpe"))
    path = written(run, tmp_path / "model.gguf", type)
    reader, header = gguf.GGUFReader(path), read_header(path)
    assert {tensor.name for tensor in reader.tensors} == header.tensors.keys()
    for tensor in reader.tensors:
        entry = header.tensors[tensor.name]
        data = bytearray(path.read_bytes()[entry.start : entry.start + entry.size])
        ours = entry.format.tensor(data, entry.shape).float()
        assert np.array_equal(ours.numpy(), gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(ours.shape))
    assert reader.fields["general.architecture"].contents() == family
    assert reader.fields["tokenizer.ggml.tokens"].contents() == header.metadata["tokenizer.ggml.tokens"]
    width = {"f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32}[type]
    assert path.stat().st_size < run.model.num_params() * width * 1.6 + 40_000


@pytest.mark.parametrize(("type", "bound"), [("f32", 1e-6), ("f16", 1e-2), ("bf16", 0.1), ("q8_0", 0.2)])
@pytest.mark.parametrize("kind", ["char", "ascii", "byte", "bpe"])
def test_a_file_comes_back_as_a_run(tmp_path: Path, capsys: Any, kind: str, type: str, bound: float) -> None:
    run = made(tmp_path, "llama", tokenizer(kind), n_head=2)
    save_model(tmp_path / "run", run.model, run.tokenizer.to_dict())
    pytest.importorskip("gguf", reason="gguf is not installed")
    file = tmp_path / "sub" / "model.gguf"
    assert main([str(tmp_path / "run"), str(file), "--format", "gguf", "--type", type]) == 0
    assert f"next: llama-cli -m {file}" in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir()] == ["model.gguf"]
    assert import_main(["gguf", str(file), str(tmp_path / "back")]) == 0
    again = load(tmp_path / "back")
    x = torch.randint(run.model.vocab_size, (2, 96), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert (again.model(x)[0] - run.model(x)[0]).abs().max() < bound
    assert again.tokenizer.encode("the cat\n") == run.tokenizer.encode("the cat\n")
    everything = range(run.model.vocab_size)
    assert again.tokenizer.decode(everything) == run.tokenizer.decode(everything)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q8_0", "F16", "BF16"])
def test_blocks_are_dequantized_as_the_gguf_package_does(name: str) -> None:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    format = next(format for format in FORMATS.values() if format.name == name)
    numbers = np.random.default_rng(0).normal(size=(7, 96)).astype(np.float32)
    kind = gguf.GGMLQuantizationType[name]
    data = gguf.quants.quantize(numbers, kind)
    ours = format.tensor(bytearray(data.tobytes()), (7, 96)).float().numpy()
    assert np.array_equal(ours, gguf.quants.dequantize(data, kind))
    assert np.abs(ours - numbers).max() < 0.4


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"mlp": "relu2"}, "mlp=relu2: llama.cpp's llama has swiglu alone"),
        ({"mlp": "gelu", "norm": "layernorm", "pos": "learned"}, "n_kv_head=2"),
        ({"logit_softcap": 15.0}, "logit_softcap=15"),
        ({"residual": "parallel"}, "residual=parallel"),
        ({"pos": {"name": "rope", "fraction": 0.5}}, "pos.fraction=0.5"),
        (
            {"norm": "layernorm", "mlp": "gelu", "n_kv_head": None, "residual": "parallel"},
            "GPTNeoXForCausalLM, which we",
        ),
    ],
)
def test_models_that_llama_cpp_lacks_are_refused_before_a_file_appears(
    tmp_path: Path, knobs: dict[str, Any], said: str
) -> None:
    run = made(tmp_path, "llama", tokenizer("char"), **knobs)
    with pytest.raises(UsageError) as refused:
        written(run, tmp_path / "model.gguf")
    assert said in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        written(made(tmp_path, "llama", tokenizer("char")), tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_text() == "mine"


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


@pytest.mark.parametrize(
    ("pre", "ignore", "name"),
    [
        ({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, False, "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True}], False, "smollm"),
        ([split(LLAMA3), BYTES], True, "llama-bpe"),
        ([split(QWEN2), BYTES], False, "qwen2"),
        ([split(LLAMA3), BYTES], False, None),
        ([split(r"\w+"), BYTES], False, None),
        ({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, False, None),
        ({"type": "Whitespace"}, False, None),
    ],
)
def test_the_pattern_of_words_is_known_or_refused(
    llama_cpp: Any, tmp_path: Path, pre: Any, ignore: bool, name: str | None
) -> None:
    description = json.loads(tokenizer("bpe").tokenizer_json())
    description["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": pre} if isinstance(pre, list) else pre
    description["model"]["ignore_merges"] = ignore
    tokens = HFTokenizer(json.dumps(description))
    if name is None:
        with pytest.raises(UsageError, match="cuts texts into words as none that llama"):
            vocabulary(tokens)
        return
    assert vocabulary(tokens).pre == name
    run = made(tmp_path, "llama", tokens)
    theirs = llama_cpp.LlamaCpp(written(run, tmp_path / "model.gguf"), 96)
    for text in (TEXT, "12345 67 8", "it's IT'S we'LL", " \n \n  x\r\n\r\n"):
        assert theirs.encode(text) == tokens.encode(text)


@pytest.mark.parametrize("odd", ["▁", "\0", "\ud83d"])
def test_characters_that_llama_cpp_cannot_hold_are_refused(odd: str) -> None:
    with pytest.raises(UsageError, match=r"which llama\.cpp does not have"):
        vocabulary(CharTokenizer(["a", "é", odd]))


def damaged_files(path: Path) -> dict[str, bytes]:
    """A file with one claim of its header changed to something that cannot be."""
    data = path.read_bytes()
    many = (2**62).to_bytes(8, "little")
    key = b"llama.block_count"
    at = data.index(key) + len(key) + 4
    name = data.index(b"token_embd.weight") - 8
    dims = name + 8 + len(b"token_embd.weight")
    return {
        "empty": b"",
        "other": b"hello, I am a text",
        "version": data[:4] + b"\x09" + data[5:],
        "big endian": data[:4] + b"\0\0\0\x03" + data[8:],
        "tensors": data[:8] + many + data[16:],
        "keys": data[:16] + many + data[24:],
        "a key's length": data[:24] + many + data[32:],
        "layers": data[:at] + (10**9).to_bytes(4, "little") + data[at + 4 :],
        "no layers": data[:at] + bytes(4) + data[at + 4 :],
        "a name's length": data[:name] + many + data[name + 8 :],
        "dimensions": data[:dims] + b"\xff\xff\xff\xff" + data[dims + 4 :],
        "a dimension": data[: dims + 4] + many + data[dims + 12 :],
        "an empty dimension": data[: dims + 4] + bytes(8) + data[dims + 12 :],
        "a type": data[: dims + 20] + b"\x0c" + data[dims + 21 :],
        "an offset": data[: dims + 24] + many + data[dims + 32 :],
        "an unaligned offset": data[: dims + 24] + b"\x01" + data[dims + 25 :],
        "an overlap": data.replace(b"output_norm.weight", b"output_norm.weighs"),
        "a name twice": data.replace(b"blk.1.attn_norm.weight", b"blk.0.attn_norm.weight"),
        "truncated": data[: len(data) // 2],
        "one byte short": data[:-1],
    }


def outcome(path: Path) -> str:
    """What importing a file comes to: "read", or the error's one line."""
    try:
        header = read_header(path)
        read_gguf(header)
        tokenizer_of(header)
    except MicrogptError as error:
        return str(error)
    return "read"


def test_files_with_impossible_claims_are_refused_in_one_line(tmp_path: Path) -> None:
    path = written(made(tmp_path, "llama", tokenizer("bpe")), tmp_path / "good.gguf")
    assert outcome(path) == "read"
    for name, data in damaged_files(path).items():
        bad = tmp_path / "bad.gguf"
        bad.write_bytes(data)
        said = outcome(bad)
        assert said != "read", name
        assert "\n" not in said, name
        assert len(said) < 600, name
    with pytest.raises(CheckpointError, match="no such file"):
        read_header(tmp_path / "gone.gguf")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_header(tmp_path)


def test_flipped_bits_and_cuts_never_crash_the_reader(tmp_path: Path) -> None:
    path = written(made(tmp_path, "gpt2", tokenizer("bpe"), n_embd=16, n_layer=1), tmp_path / "good.gguf")
    good, rng, bad = path.read_bytes(), random.Random(0), tmp_path / "bad.gguf"
    header_end = min(entry.start for entry in read_header(path).tensors.values())
    said = set()
    for round in range(600):
        data = bytearray(good)
        if round % 6 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.choice((1, 1, 3, 30))):
            if data:
                data[rng.randrange(min(len(data), header_end))] ^= 1 << rng.randrange(8)
        bad.write_bytes(data)
        said.add(result := outcome(bad))
        assert "\n" not in result
    assert len(said) > 50


def edited(path: Path, out: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with its metadata changed, written by the gguf package."""
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    reader = gguf.GGUFReader(path)
    fields = {name: (field.types, field.contents()) for name, field in reader.fields.items() if "." in name}
    change(fields)
    architecture = fields.pop("general.architecture")[1]
    writer = gguf.GGUFWriter(out, architecture)
    for name, (types, value) in fields.items():
        writer.add_key_value(name, value, types[0], types[1] if len(types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("llama.expert_count", 8, "cannot express llama.expert_count=8"),
        ("llama.rope.scaling.type", "yarn", "cannot express llama.rope.scaling.type='yarn'"),
        ("llama.attention.sliding_window", 16, "cannot express attention.sliding_window=16"),
        ("llama.rope.dimension_count", 8, "cannot express rope.dimension_count=8"),
        ("general.architecture", "mamba", "the architecture 'mamba'"),
        ("tokenizer.ggml.model", "bert", "a vocabulary of kind 'bert'"),
        ("tokenizer.ggml.pre", "falcon", "a pre-tokenizer 'falcon'"),
        ("llama.attention.head_count", 3, "head_dim=16"),
        ("llama.attention.head_count", 0, "head_dim=16"),
        ("llama.embedding_length", 2**31, "head_dim=16"),
        ("llama.context_length", 2**31, "too much for"),
    ],
)
def test_what_would_be_dropped_is_refused_by_name(tmp_path: Path, key: str, value: Any, said: str) -> None:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    path = written(made(tmp_path, "llama", tokenizer("bpe")), tmp_path / "good.gguf")
    kind = gguf.GGUFValueType.STRING if isinstance(value, str) else gguf.GGUFValueType.UINT32
    changed = edited(path, tmp_path / "changed.gguf", lambda fields: fields.update({key: ([kind], value)}))
    assert said in outcome(changed)
