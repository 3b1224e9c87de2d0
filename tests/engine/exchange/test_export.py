"""Exports: opened by transformers with equal logits and tokens, checked before they appear, refused by name."""

import itertools
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from microgpt import ByteTokenizer, CharTokenizer, load, train
from microgpt.data.tokenizer import BPETokenizer
from microgpt.engine.commands.export import main
from microgpt.engine.exchange.export import export
from microgpt.engine.exchange.formats import ExportFormat
from microgpt.engine.exchange.formats import hf as hf_format
from microgpt.errors import CheckpointError, UsageError

GPT2 = ["model.pos=learned", "model.norm=layernorm", "model.mlp=gelu_tanh", "model.bias=true", "model.qk_norm=false",
        "model.init=gpt2", "model.tie_weights=true"]  # fmt: skip
LLAMA = ["model.pos=rope", "model.norm=rmsnorm", "model.mlp=swiglu", "model.qk_norm=false", "model.n_kv_head=1"]
PLAIN = ["model.pos=rope", "model.norm=rmsnorm", "model.mlp=gelu", "model.qk_norm=false"]


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
@pytest.mark.parametrize(
    ("parts", "name"), [(GPT2, "GPT2LMHeadModel"), (LLAMA, "LlamaForCausalLM"), ([], "Qwen3ForCausalLM")]
)
def test_transformers_opens_a_trained_model(
    transformers: Any,
    tokenizers: Any,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    parts: list[str],
    name: str,
    kind: str,
) -> None:
    run = train(tiny(*parts, f"data.tokenizer={kind}", "data.vocab_size=300"))
    out = tmp_path / "out"
    capsys.readouterr()
    assert main([str(tmp_path / "run"), str(out), "--format", "hf"]) == 0
    printed = capsys.readouterr().out
    assert "its logits differ by" in printed

    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert type(model).__name__ == name
    x = torch.randint(run.model.vocab_size, (4, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = (run.model(x)[0] - model(x).logits).abs().max()
    assert difference <= 1e-5

    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer.model_max_length == 16
    text = "the cat and the dog\n sat!?"
    assert tokenizer(text)["input_ids"] == run.tokenizer.encode(text)
    assert tokenizer.decode(run.tokenizer.encode(text)) == text
    pipe = transformers.pipeline("text-generation", model=str(out))
    made = pipe("the c", max_new_tokens=8, do_sample=False)[0]["generated_text"]
    assert made == run.generate("the c", max_new_tokens=8, temperature=0)

    card = (out / "README.md").read_text()
    assert "book.txt" in card
    assert f"{run.summary['val/bpc']:.6g}" in card
    assert "| n_layer | 2 |" in card
    assert f"transformers {transformers.__version__}; the largest difference" in card
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] is None
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_export_is_a_run_again_and_its_weights_are_identical(
    tokenizers: Any, tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = train(tiny(*PLAIN))
    export(run, tmp_path / "out")  # type: ignore[arg-type]
    again = load(tmp_path / "out")
    a, b = run.model.state_dict(), again.model.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert again.config == run.config
    assert again.generate("the c", seed=1) == run.generate("the c", seed=1)


def test_without_transformers_our_own_reader_checks_it(
    tiny: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    run = train(tiny(*PLAIN))
    assert export(run, tmp_path / "out") == 0.0  # type: ignore[arg-type]
    assert "opened by microgpt's own reader" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_that_does_not_match_does_not_appear(
    tiny: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny(*PLAIN))
    reopened = hf_format.reopened

    def wrong(folder: Path) -> Any:
        name, logits, encode = reopened(folder)
        return name, lambda x: logits(x) + 1e-3, encode

    monkeypatch.setattr(hf_format, "reopened", wrong)
    with pytest.raises(CheckpointError, match=r"differ by 0\.001"):
        export(run, tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*.tmp"))


def test_an_inexpressible_model_is_refused_by_the_names_of_its_fields(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny("model.pos=alibi", "model.logit_softcap=15"))
    assert main([str(tmp_path / "run"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pos=alibi" in error
    assert "logit_softcap=15" in error
    assert not (tmp_path / "out").exists()
    assert main([str(tmp_path / "run"), str(tmp_path / "out"), "--format", "safetensors", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {"out": str(tmp_path / "out"), "format": "safetensors", "largest_difference": 0.0}
    assert load(tmp_path / "out").generate("the", seed=1) == load(tmp_path / "run").generate("the", seed=1)


def test_a_folder_in_use_is_left_alone(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    run = train(tiny(*PLAIN))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        export(run, tmp_path / "out")  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


MINE = """
    from typing import Literal

    import torch

    from microgpt.engine.exchange.check import compare_logits
    from microgpt.engine.exchange.formats import ExportFormat
    from microgpt.errors import UsageError

    class TorchFormat(ExportFormat, name="torch"):
        '''One file of torch's.'''

        file_name: str = "weights.pt"
        "Name of the file."
        precision: Literal["float32", "float16"] = "float32"
        "Number format of the weights."

        def check_run(self, run):
            if run.config.tie_weights:
                raise UsageError("tied weights", "model.tie_weights", "train with tie_weights=false")

        def write(self, run, folder):
            dtype = getattr(torch, self.precision)
            path = folder / self.file_name
            torch.save({name: t.to(dtype) for name, t in run.model.state_dict().items()}, path)
            again = type(run.model)(run.config, run.model.vocab_size)
            again.load_state_dict(torch.load(path, weights_only=True))
            return compare_logits(run.model, lambda x: again.eval()(x)[0])

        def next_step(self, out):
            return f"torch.load({str(out / self.file_name)!r})"
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A user's file that adds the format `torch`."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(MINE))
    return str(tmp_path / "mine.py")


def test_a_format_of_ones_own_is_one_file(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], mine: Any
) -> None:
    run = train(tiny(*PLAIN))
    words = [str(tmp_path / "run"), str(tmp_path / "out"), "--import", mine, "--format", "torch"]
    capsys.readouterr()
    assert main([*words, "--file-name", "w.pt"]) == 0
    assert f"next: torch.load('{tmp_path}/out/w.pt')" in capsys.readouterr().out
    written = torch.load(tmp_path / "out" / "w.pt", weights_only=True)
    assert all(torch.equal(tensor, written[name]) for name, tensor in run.model.state_dict().items())
    assert main([words[0], str(tmp_path / "half"), *words[2:], "--precision", "float16"]) == 4
    assert "the exported model's logits differ by" in capsys.readouterr().err
    assert not (tmp_path / "half").exists()
    assert main([words[0], str(tmp_path / "b"), *words[2:], "--precision", "float8"]) == 2
    assert "--precision: no such choice 'float8'; " in capsys.readouterr().err
    train(tiny(*PLAIN, "model.tie_weights=true", "model.init=gpt2", f"hydra.run.dir={tmp_path / 'tied'}"))
    assert main([str(tmp_path / "tied"), str(tmp_path / "c"), *words[2:]]) == 2
    assert "tied weights in model.tie_weights" in capsys.readouterr().err


def test_help_and_errors_come_from_the_formats_and_import_nothing_heavy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mine: Any
) -> None:
    code = (
        "import sys\nfrom microgpt.engine.commands.export import main\n"
        f"assert main(['--import', {mine!r}, '--help']) == 0\nassert 'torch' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert re.search(r"hf, .*safetensors, .*torch \(default: hf\)", " ".join(out.split()))
    assert "  torch        One file of torch's.\n" in out
    assert "torch: Name of the file. (default: weights.pt)" in " ".join(out.split())
    mistakes = {
        "--format tork": "no export format 'tork' in --format; did you mean 'torch'?",
        "--format safetensors --card false": "--card is no option of 'safetensors' in the arguments; it has no options",
        "--format hf --card maybe": "--card: 'maybe' is not true or false",
        "--format": "argument --format: expected one argument",
    }
    for words, said in mistakes.items():
        assert main([str(tmp_path), "out", "--import", mine, *words.split()]) == 2
        assert said in capsys.readouterr().err
    assert main(["run", "out", "--import", str(tmp_path / "gone.py")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_an_option_cannot_take_the_commands_own_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.py").write_text(
        "from microgpt.engine.exchange.formats import ExportFormat\n"
        "class Own(ExportFormat, name='own'):\n    device: str = 'cpu'\n"
    )
    assert main(["run", "out", "--import", str(tmp_path / "own.py")]) == 2
    assert "the option --device is the command's own" in capsys.readouterr().err


def test_the_model_card_can_be_left_out(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(*PLAIN))
    capsys.readouterr()
    assert main([str(tmp_path / "run"), str(tmp_path / "out"), "--card", "false"]) == 0
    assert "README" not in capsys.readouterr().out
    assert not (tmp_path / "out" / "README.md").exists()
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_every_format_has_a_file_of_its_own() -> None:
    homes = {name: member.__module__ for name, member in ExportFormat.members.items()}
    names = ("gguf", "hf", "html", "onnx", "safetensors")
    assert homes == {name: f"microgpt.engine.exchange.formats.{name}" for name in names}


UNICODE = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
GENTLE = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@GENTLE
@given(vocabulary=UNICODE.filter(len), text=UNICODE)
def test_characters_have_the_same_tokens_in_tokenizer_json(tokenizers: Any, vocabulary: Any, text: str) -> None:
    ours = CharTokenizer.from_text(vocabulary, unknown="skip")
    theirs = tokenizers.Tokenizer.from_str(ours.tokenizer_json())
    assert theirs.encode(text + vocabulary).ids == ours.encode(text + vocabulary)
    assert theirs.decode(ours.encode(vocabulary)) == vocabulary


@GENTLE
@given(text=UNICODE)
def test_bytes_have_the_same_tokens_in_tokenizer_json(tokenizers: Any, text: str) -> None:
    theirs = tokenizers.Tokenizer.from_str(ByteTokenizer().tokenizer_json())
    assert theirs.encode(text).ids == ByteTokenizer().encode(text)
    assert theirs.decode(ByteTokenizer().encode(text)) == text


@GENTLE
@given(text=UNICODE)
def test_subwords_have_the_same_tokens_in_tokenizer_json(tokenizers: Any, text: str) -> None:
    ours = BPETokenizer.from_texts(["the cat sat on the mat and the dog"] * 3, 280)
    theirs = tokenizers.Tokenizer.from_str(ours.tokenizer_json())
    assert theirs.encode(text).ids == ours.encode(text)


def test_half_characters_cannot_be_expressed_and_are_named() -> None:
    with pytest.raises(UsageError, match=r"U\+D800"):
        CharTokenizer("a\ud800").tokenizer_json()


def test_every_character_of_unicode_is_its_own_token(tokenizers: Any) -> None:
    letters = [chr(c) for c in itertools.chain(range(0xD800), range(0xE000, 0x11000))]
    ours = CharTokenizer(letters)
    theirs = tokenizers.Tokenizer.from_str(ours.tokenizer_json())
    assert theirs.encode("".join(letters)).ids == list(range(len(letters)))
