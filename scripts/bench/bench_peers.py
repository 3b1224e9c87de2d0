"""Training and text beside the other libraries for small GPTs, each by its own model, at one shape and in one run.

    python scripts/bench/bench_peers.py [--nanogpt DIR] [--mingpt DIR] [--litgpt DIR] [--parts train text] [--out FILE]

minGPT and litgpt are read from checkouts (litgpt's requirements installed), transformers where it is installed.
minGPT trains by its own Trainer; transformers and litgpt, which leave the loop to others, by a bare one: forward,
backward, clipping and a fused AdamW on batches that are ready. All have GPT-2's parts but litgpt, whose GPTs have
rotary positions; all make text as their `generate` does, with a cache of keys and values where they have one.
"""

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import bench_generate
from bench_contestants import NANOGPT, Shape
from bench_generate import Generate, timed
from bench_machine import seconds_of
from bench_rig import Bench, Spread, alternate
from bench_train import PUBLISHED, TINY, best, every_way, race, rivals

WRITING = Shape(**bench_generate.SIZES, batch_size=1)
AHEAD = "ours is so many times as fast"

Loss = Callable[[Tensor, Tensor], Tensor]
Train = Callable[[int], float]


def arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark adds to the shared arguments."""
    parser.add_argument("--parts", nargs="+", choices=("train", "text"), default=("train", "text"))
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=False, help="ours compiled, too")
    parser.add_argument("--precisions", nargs="+", help="default: those that the machine does not emulate")


def bare_loop(bench: Bench, shape: Shape, model: nn.Module, loss: Loss, mixed: bool, steps: int) -> float:
    """Seconds per step of a loop that does nothing but train."""
    ids = torch.from_numpy(shape.ids().astype("int64")).to(bench.device)
    windows = ids.unfold(0, shape.block_size + 1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        rows = windows[torch.randint(len(windows), (shape.batch_size,), device=bench.device)]
        with torch.autocast(bench.device, torch.bfloat16, enabled=mixed):
            value = loss(rows[:, :-1], rows[:, 1:])
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    return seconds_of(lambda: [step() for _ in range(steps)], bench.device) / steps


def transformers_model(bench: Bench, shape: Shape, dtype: torch.dtype) -> nn.Module:
    """transformers' GPT-2 of this shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_layer": shape.n_layer, "n_head": shape.n_head, "n_embd": shape.n_embd, "n_positions": shape.block_size}
    none = {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "bos_token_id": None, "eos_token_id": None}
    model: nn.Module = GPT2LMHeadModel(GPT2Config(**sizes, vocab_size=shape.vocab_size, **none))
    return model.to(bench.device, dtype)


def litgpt_model(bench: Bench, shape: Shape, dtype: torch.dtype) -> nn.Module:
    """litgpt's GPT of this shape."""
    from litgpt import GPT, Config

    config = Config(
        n_layer=shape.n_layer, n_head=shape.n_head, n_embd=shape.n_embd, block_size=shape.block_size, bias=False,
        vocab_size=shape.vocab_size, padded_vocab_size=shape.vocab_size, rotary_percentage=1.0, parallel_residual=False,
    )  # fmt: skip
    model: nn.Module = GPT(config)
    return model.to(bench.device, dtype)


def mingpt_model(shape: Shape) -> Any:
    """minGPT's GPT of this shape, without dropout."""
    from mingpt.model import GPT

    config = GPT.get_default_config()
    sizes = {name: getattr(shape, name) for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")}
    config.merge_from_dict({"model_type": None, **sizes, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0})
    with contextlib.redirect_stdout(io.StringIO()):
        return GPT(config)


def transformers_train(bench: Bench, shape: Shape, precision: str) -> Train:
    """transformers' GPT-2 in a bare loop."""
    model = transformers_model(bench, shape, dtype_of(precision))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        logits = model(input_ids=x, use_cache=False).logits
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), y.flatten())

    return partial(bare_loop, bench, shape, model, loss, precision == "bf16-mixed")


def litgpt_train(bench: Bench, shape: Shape, precision: str) -> Train:
    """litgpt's GPT with its own loss in a bare loop."""
    from litgpt.utils import chunked_cross_entropy

    model = litgpt_model(bench, shape, dtype_of(precision))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return chunked_cross_entropy(model(x), y)  # type: ignore[no-any-return]

    return partial(bare_loop, bench, shape, model, loss, precision == "bf16-mixed")


def mingpt_train(bench: Bench, shape: Shape) -> Train:
    """minGPT's own Trainer, without the worker processes that would only cost time here."""
    from mingpt.trainer import Trainer

    windows = torch.from_numpy(shape.ids().astype("int64")).unfold(0, shape.block_size + 1, 1)
    pairs = torch.utils.data.StackDataset(windows[:, :-1], windows[:, 1:])
    config = Trainer.get_default_config()
    config.merge_from_dict({"device": bench.device, "batch_size": shape.batch_size, "num_workers": 0})
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(config, mingpt_model(shape), pairs)

    def run(steps: int) -> float:
        ends: list[float] = []
        config.max_iters = steps + 1
        trainer.set_callback("on_batch_end", lambda _: ends.append(time.perf_counter()))
        trainer.run()
        return (ends[-1] - ends[0]) / steps

    return run


def dtype_of(precision: str) -> torch.dtype:
    """The type of the weights."""
    return torch.bfloat16 if precision == "bf16-true" else torch.float32


def transformers_generate(bench: Bench, shape: Shape, precision: str) -> Generate:
    """`generate` of transformers, with its cache."""
    model: Any = transformers_model(bench, shape, dtype_of(precision)).eval()

    def generate(batch: int, count: int) -> object:
        prompts = torch.zeros(batch, 1, dtype=torch.int64, device=bench.device)
        return model.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=count, do_sample=True, temperature=0.8,
            top_k=0, pad_token_id=0,
        )  # fmt: skip

    return generate


def litgpt_generate(bench: Bench, shape: Shape, precision: str) -> Generate:
    """`generate` of litgpt for one stream, its `batched_generate_fn` for more, with its cache."""
    from litgpt.generate import base

    model: Any = litgpt_model(bench, shape, dtype_of(precision)).eval()
    sampling = {"temperature": 0.8, "top_k": None, "top_p": 1.0}

    def generate(batch: int, count: int) -> object:
        prompts = torch.zeros(batch, 1, dtype=torch.int64, device=bench.device)
        model.clear_kv_cache()
        model.set_kv_cache(batch_size=batch, device=bench.device, dtype=dtype_of(precision))
        with torch.inference_mode():
            if batch == 1:
                return base.generate(model, prompts[0], count + 1, **sampling)
            made = base.batched_generate_fn(
                model, prompts, count + 1, sample_args=sampling, include_prompt=False, include_eos=True
            )
            return list(made)

    return generate


def mingpt_generate(bench: Bench, shape: Shape) -> Generate:
    """minGPT's `generate`, which has no cache."""
    model = mingpt_model(shape).to(bench.device).eval()

    def generate(batch: int, count: int) -> object:
        prompts = torch.zeros(batch, 1, dtype=torch.int64, device=bench.device)
        return model.generate(prompts, count, temperature=0.8, do_sample=True)

    return generate


def has_transformers() -> bool:
    """Whether it is installed."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        return False
    return True


def peers(bench: Bench, by: dict[str, Callable[..., Any]], shape: Shape, precisions: Sequence[str]) -> dict[str, Any]:
    """The contestants of `by` that are at hand, in every precision that they have."""
    found: dict[str, Any] = {}
    if bench.args.mingpt is not None:
        found["minGPT"] = by["mingpt"](bench, shape)
    others = ["transformers"] if has_transformers() else []
    if bench.args.litgpt is not None:
        others.append("litgpt")
    found |= {f"{name} {p}": by[name](bench, shape, p) for name in others for p in precisions}
    return found


def train(bench: Bench) -> None:
    """Seconds per step of each."""
    shape = TINY if bench.quick else PUBLISHED["cpu"]
    by = {"mingpt": mingpt_train, "transformers": transformers_train, "litgpt": litgpt_train}
    others = rivals(bench, shape, (False,)) | peers(bench, by, shape, bench.args.precisions)
    ways = {**others, **every_way(bench, shape, NANOGPT, bench.args.precisions)}
    found = race(bench, ways)
    mine = best(found)
    rows = [{"contestant": name, "s/step": s, AHEAD: s.over(mine)} for name, s in found.items()]
    bench.table(f"training, {shape}", rows)
    ahead(bench, "training step", found, list(others))


def text(bench: Bench) -> None:
    """Tokens a second of each, in one stream and in many."""
    shape = TINY if bench.quick else WRITING
    by = {"mingpt": mingpt_generate, "transformers": transformers_generate, "litgpt": litgpt_generate}
    count = shape.block_size - 1
    precisions = [p for p in bench.args.precisions if p != "bf16-mixed"]  # of the weights alone
    others: dict[str, Generate] = peers(bench, by, shape, precisions)
    if bench.args.nanogpt is not None:
        others["nanoGPT float32"] = bench_generate.nanogpt_generate(bench, torch.float32)
    models = {p: bench_generate.ours(bench, dtype_of(p)) for p in precisions}
    own = {
        f"microgpt {p}{' compiled' * compiled}": bench_generate.run_generate(model, compiled)
        for p, model in models.items()
        for compiled in ((False, True) if bench.args.compile else (False,))
    }
    for batch in bench.args.batches:
        ways = {**others, **own}
        for way in ways.values():
            way(batch, min(count, 4))  # memory is taken and code is loaded
        found = alternate({name: partial(timed, bench, way, batch, count) for name, way in ways.items()}, bench.rounds)
        mine = best(found)
        title = f"text, {batch} x {count} tokens"
        rows = [{"contestant": n, "tokens/s": s.inverse(batch * count), AHEAD: s.over(mine)} for n, s in found.items()]
        bench.table(title, rows)
        ahead(bench, title, found, list(others))


def ahead(bench: Bench, what: str, found: dict[str, Spread], others: Sequence[str]) -> None:
    """Ours over the fastest of the others: in float32, and each in the precision that suits it best."""
    if not others:
        return
    # On a GPU nanoGPT's own precision is bfloat16.
    plain = [n for n in others if "bf16" not in n and (bench.device == "cpu" or n != "nanoGPT")]
    fastest = {"float32": min((found[n] for n in plain), key=lambda s: s.median)} if plain else {}
    fastest["any precision"] = min((found[n] for n in others), key=lambda s: s.median)
    for name, rival in fastest.items():
        mine = best(found, "32-true" if name == "float32" else "")
        bench.claim(f"{what}, times the fastest other in {name}", rival.over(mine), at_least=1)


def main(argv: Sequence[str] | None = None) -> Bench:
    """Run the parts."""
    with Bench("peers", __doc__, argv, arguments) as bench:
        sys.path[:0] = [str(folder) for folder in (bench.args.mingpt, bench.args.litgpt) if folder is not None]
        if bench.device == "cuda":
            torch.set_float32_matmul_precision("high")  # for all alike; without it nobody but nanoGPT takes TF32
        for part in bench.args.parts:
            {"train": train, "text": text}[part](bench)
    return bench


if __name__ == "__main__":
    main()
