"""Generation speed: tokens/s of a 10.6M model for one stream and for many, against nanoGPT and the memory's bandwidth.

    python scripts/bench/bench_generate.py [--nanogpt DIR] [--batches 1 2 4 16 256 1024] [--device cuda] [--out FILE]

The model is nanoGPT's Shakespeare one (6 layers x 6 heads x 384, context 256, 65 characters), its weights drawn at
random: they are the same number and cost the same. One stream is timed through `Run.generate`, as the command and a
notebook have it, batches through `model.generate`; nanoGPT through its own `generate`, as its sample.py calls it.
Compiled, a first text is made before the clock runs; what it took is in a table of its own.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from bench_contestants import silently
from bench_machine import formats, reading_rate, seconds_of
from bench_nanogpt import nanogpt_module
from bench_rig import Bench, alternate
from microgpt import GPT, CharTokenizer, GPTConfig
from microgpt.engine.trained.run import Run
from microgpt.model.kernels import torch_private
from microgpt.model.kernels.int8 import quantize

SIZES = {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256}
TINY = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16}
CHARACTERS = [chr(code) for code in range(32, 97)]
GOALS = {1: 10.0, 16: 20.0}
NO_SLOWER = 0.95
"""A ratio from which on something is not slower: what is called twice differs by so much here."""

Generate = Callable[[int, int], object]
"""Makes so many new tokens in so many streams."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 16, 256, 1024])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="compiled contestants too")
    parser.add_argument("--new-tokens", type=int, metavar="N", help="in each stream (default: what the context holds)")


def ours(bench: Bench, dtype: torch.dtype) -> GPT:
    """Our model of these sizes."""
    parts = {"pos": "learned", "norm": "layernorm", "mlp": "gelu", "tie_weights": True}
    config = GPTConfig.from_dict({**(TINY if bench.quick else SIZES), **parts})
    return GPT(config, len(CHARACTERS)).to(bench.device, dtype).eval()


def run_generate(model: GPT, compiled: bool) -> Generate:
    """One stream by `Run.generate`, more of them by `model.generate`."""
    run = Run(Path(), model, CharTokenizer(CHARACTERS))
    prompts = torch.zeros(1, 1, dtype=torch.int64, device=next(model.parameters()).device)

    def generate(batch: int, count: int) -> object:
        if batch == 1:
            return run.generate(CHARACTERS[0], max_new_tokens=count, temperature=0.8, seed=0, compile=compiled)
        return model.generate(prompts.expand(batch, 1), max_new_tokens=count, temperature=0.8, compile=compiled)

    return generate


def nanogpt_generate(bench: Bench, dtype: torch.dtype) -> Generate:
    """nanoGPT's `generate` with its sample.py's settings: top-k 200, autocast where it has any, nothing compiled."""
    module = nanogpt_module(bench.args.nanogpt)
    with silently():
        model = module.GPT(module.GPTConfig(**(TINY if bench.quick else SIZES), vocab_size=65, bias=False))
    model.to(bench.device).eval()

    def generate(batch: int, count: int) -> object:
        with torch.no_grad(), torch.autocast(bench.device, dtype, enabled=dtype is not torch.float32):
            prompts = torch.zeros(batch, 1, dtype=torch.int64, device=bench.device)
            return model.generate(prompts, count, temperature=0.8, top_k=200)

    return generate


def bytes_per_token(model: GPT, count: int) -> float:
    """What one stream must read for a token at least: each weight once, and the keys and values so far, on average."""
    config, size = model.config, next(model.parameters()).element_size()
    kept = min(count, config.block_size) / 2 * 2 * config.n_layer * config.kv_heads * config.head_width
    return (model.num_params(non_embedding=True) + kept) * size


def equal_tokens(model: GPT, batch: int, compiled: bool) -> float:
    """The share of tokens that are the same with the cache as without: for one stream past the context's end too."""
    prompts = torch.randint(model.vocab_size, (batch, 5), device=next(model.parameters()).device)
    count = model.config.block_size + 8 if batch == 1 else 32
    made = [
        model.generate(prompts, count, generator=torch.Generator().manual_seed(0), use_cache=cached, compile=compiled)
        for cached in (True, False)
    ]
    return float((made[0] == made[1]).float().mean())


def main(argv: Sequence[str] | None = None) -> Bench:
    """Time every batch size, then hold the tokens against the uncached ones."""
    with Bench("generate", __doc__, argv, arguments) as bench:
        count = bench.args.new_tokens or (TINY if bench.quick else SIZES)["block_size"] - 1
        batches = [1, 4] if bench.quick else bench.args.batches
        dtypes = formats(bench.device)
        models = {name: ours(bench, dtype) for name, dtype in dtypes.items()}
        compiles = not bench.quick if bench.args.compile is None else bench.args.compile
        own = {
            f"microgpt {name}{' compiled' * compiled}": run_generate(model, compiled)
            for name, model in models.items()
            for compiled in ((False, True) if compiles else (False,))
        }
        if bench.device == "cpu" and torch_private.has_fbgemm():
            rough = ours(bench, torch.float32)
            quantize(rough)
            own["microgpt int8"] = run_generate(rough, False)
        peers: dict[str, Generate] = {}
        if bench.args.nanogpt is not None:
            peers["nanoGPT"] = nanogpt_generate(bench, dtypes["bf16" if bench.device == "cuda" else "fp32"])
        for batch in batches:
            ways = {**(peers if batch <= 16 else {}), **own}
            # Memory is taken, code is loaded, and what is to be compiled is compiled.
            first = {name: timed(bench, way, batch, min(count, 4)) for name, way in ways.items()}
            first = {name: seconds for name, seconds in first.items() if name.endswith("compiled")}
            turns = {name: partial(timed, bench, way, batch, count) for name, way in ways.items()}
            found = alternate(turns, bench.rounds)
            rows = []
            for name, seconds in found.items():
                row = {"contestant": name, "tokens/s": seconds.inverse(batch * count)}
                rows.append(row | ({"times nanoGPT": found["nanoGPT"].over(seconds)} if peers.keys() & ways else {}))
            bench.table(f"{batch} streams of {count} tokens", rows)
            for name in models if compiles else ():
                times = found[f"microgpt {name}"].over(found[f"microgpt {name} compiled"])
                bench.claim(f"{batch} streams in {name}, compile=True over eager", times, at_least=NO_SLOWER)
            if first:
                rows = [{"contestant": name, "s": seconds} for name, seconds in first.items()]
                bench.table("seconds of the first text, compiling", rows)
            best = min((found[name] for name in own), key=lambda s: s.median)
            if peers.keys() & ways and batch in GOALS:
                times = found["nanoGPT"].over(best)
                bench.claim(f"{batch} streams, times nanoGPT", times, at_least=GOALS[batch])
            if batch == 1:
                fastest = {
                    name: max(count / s.median for way, s in found.items() if way.startswith(f"microgpt {name}"))
                    for name in models
                }
                bound(bench, models, fastest, count)
        same = {name: {str(b): equal_tokens(m, b, compiles) for b in batches[:2]} for name, m in models.items()}
        bench.table("tokens equal to the uncached ones", [{"weights": n, **shares} for n, shares in same.items()])
        bench.claim("tokens equal to the uncached ones, fp32", min(same["fp32"].values()), at_least=1)
    return bench


def timed(bench: Bench, way: Generate, batch: int, count: int) -> float:
    """Seconds of one call."""
    return seconds_of(lambda: way(batch, count), bench.device)


def bound(bench: Bench, models: dict[str, GPT], speeds: dict[str, float], count: int) -> None:
    """One stream as a share of what the bandwidth allows: of main memory, and of wherever weights of this size lie."""
    rows = []
    for name, model in models.items():
        need = bytes_per_token(model, count)
        rates = {"main memory": bench.limits["read bytes/s"], "memory at this size": reading_rate(bench.device, need)}
        shares = {f"share of {where}": speeds[name] * need / rate for where, rate in rates.items()}
        rows.append({"weights": name, "MB/token": need / 1e6, "tokens/s": speeds[name]}
                    | {f"bound of {where}": rate / need for where, rate in rates.items()} | shares)  # fmt: skip
        bench.claim(f"one stream in {name}, share of the bandwidth bound", shares["share of main memory"], at_least=0.6)
    bench.table("bandwidth bound of one stream", rows)


if __name__ == "__main__":
    main()
