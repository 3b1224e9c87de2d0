"""Open exported GGUF files with llama.cpp and compare tokens, logits and greedy text with ours.

    pip install 'microgpt[gguf]' xllamacpp
    python scripts/exchange/check_llama_cpp.py OUT TEXT...

trains six small models in OUT on the first TEXT, one for each of three families with characters and with subwords,
exports them, and prints a table of differences over all the TEXTs. xllamacpp is llama.cpp, built and on PyPI.
"""

import argparse
import json
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from microgpt import train
from microgpt.engine.exchange.export import export
from microgpt.engine.trained.run import Run

FAMILIES = {
    "llama": ["model.norm=rmsnorm", "model.pos=rope", "model.mlp=swiglu", "model.qk_norm=false", "model.n_kv_head=1"],
    "qwen3": ["model.norm=rmsnorm", "model.pos=rope", "model.mlp=swiglu", "model.qk_norm=true"],
    "gpt2": ["model.norm=layernorm", "model.pos=learned", "model.mlp=gelu_tanh", "model.bias=true",
             "model.qk_norm=false", "model.init=gpt2", "model.tie_weights=true"],
}  # fmt: skip
TOKENIZERS = ("char", "bpe")


class LlamaCpp:
    """llama.cpp's server with one model, in this process.

    Args:
        exact: keep keys and values in float32, as we do; else as llama.cpp has them by default, which is faster.
    """

    def __init__(self, path: Path, context: int, exact: bool = True, threads: int = 1) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel, params.warmup = str(path), context, 1, False
        params.cpuparams.n_threads, params.verbosity = threads, -1
        if exact:  # keys and values of float16, the default, would differ by more than the weights
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def post(self, path: str, **values: Any) -> Any:
        """The answer to a request."""
        data, head = json.dumps(values).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.listening_address + path, data, head)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def encode(self, text: str, special: bool = False) -> list[int]:
        """A text's tokens; `special` adds those that llama.cpp puts around a prompt."""
        tokens: list[int] = self.post("/tokenize", content=text, add_special=special, parse_special=False)["tokens"]
        return tokens

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""
        text: str = self.post("/detokenize", tokens=list(ids))["content"]
        return text

    def complete(self, ids: Sequence[int], n: int, **more: Any) -> dict[str, Any]:
        """The most likely n tokens after these."""
        settings = {"n_predict": n, "temperature": 0.0, "cache_prompt": False, "return_tokens": True}
        answer: dict[str, Any] = self.post("/completion", prompt=list(ids), **settings, **more)
        return answer

    def log_probabilities(self, ids: Sequence[int], vocab_size: int) -> torch.Tensor:
        """The logarithms of the next token's probabilities (V,)."""
        # The server reports none beside half of a character, so "e" is drawn; the bias is not in what it reports.
        drawn = [[self.encode("e")[0], 1e4]]
        answer = self.complete(ids, 1, n_probs=vocab_size, logit_bias=drawn)
        row = answer["completion_probabilities"][0]["top_logprobs"]
        found = torch.full((vocab_size,), float("nan"))
        for entry in row:
            found[entry["id"]] = entry["logprob"]
        return found


@torch.no_grad()
def compare(run: Run, path: Path, texts: Iterable[str], n: int = 50) -> dict[str, Any]:
    """How llama.cpp's tokens, log-probabilities and n greedy tokens differ from ours."""
    theirs = LlamaCpp(path, run.config.block_size)
    ours = run.tokenizer.with_unknown("skip")
    tokens = [theirs.encode(text) == ours.encode(text) for text in texts]
    ids = torch.randint(
        run.model.vocab_size, (run.config.block_size - n - 1,), generator=torch.Generator().manual_seed(0)
    )
    difference = 0.0
    for length in (1, len(ids) // 2, len(ids)):
        expected = run.model(ids[None, :length])[0][0, -1].log_softmax(0)
        found = theirs.log_probabilities(ids[:length].tolist(), run.model.vocab_size)
        difference = max(difference, float((expected - found).abs().max()))
    prompt = ours.encode("the c")
    made = run.model.generate(torch.tensor([prompt]), n, do_sample=False)[0, len(prompt) :].tolist()
    answer = theirs.complete(prompt, n)
    is_same = answer["tokens"] == made and answer["content"] == run.tokenizer.decode(made)
    return {"tokens": tokens, "logits": difference, "greedy": is_same, "stop": answer["stop_type"]}


def main(words: Sequence[str] | None = None) -> None:
    """Train, export, open and compare."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("texts", type=Path, nargs="+")
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--types", nargs="+", default=["f32"])
    a = p.parse_args(words)
    texts = [read(path) for path in a.texts]
    print("| family | tokenizer | type | texts with equal tokens | largest difference of a logit | greedy text |")
    print("|---|---|---|---|---|---|")
    for family, parts in FAMILIES.items():
        for kind in TOKENIZERS:
            folder = a.out / f"{family}-{kind}"
            run = train([
                f"data.path={a.texts[0]}", f"data.tokenizer={kind}", "data.vocab_size=2000", "model=gpt-nano", *parts,
                f"trainer.max_steps={a.steps}", "trainer.progress=none", "trainer.compile=false", "eval.figures=never",
                "model.block_size=128", "trainer.precision=32-true", f"hydra.run.dir={folder}",
            ])  # fmt: skip
            for type in a.types:
                path = a.out / f"{family}-{kind}-{type}.gguf"
                export(run, path, {"name": "gguf", "type": type})
                found = compare(run, path, texts)
                equal = f"{sum(found['tokens'])} of {len(texts)}"
                same = "equal" if found["greedy"] else "differs"
                print(f"| {family} | {kind} | {type} | {equal} | {found['logits']:.2g} | {same} |", flush=True)


def read(path: Path) -> str:
    """A text, in UTF-8 or Latin-1."""
    data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


if __name__ == "__main__":
    main()
