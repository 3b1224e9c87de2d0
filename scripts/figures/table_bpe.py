"""The README's table of tokenizers: characters against subwords of several sizes, at equal training arithmetic.

    python scripts/figures/table_bpe.py book.txt                    # the table in the README
    python scripts/figures/table_bpe.py book.txt --flops 1e12       # a small one, in two minutes

Each tokenizer trains the same layers on the same training text for as many steps as the budget of floating-point
operations pays for: a larger vocabulary has a larger head, so its steps cost more, and each of its tokens holds more
text. All are scored on the same validation text, in bits per character, for which no tokenizer has an advantage.
Needs the extra `hf`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from microgpt import GPT, train
from microgpt.data.corpus import prepare
from microgpt.engine.compose.compose import compose_run

TOKENIZERS = {
    "characters": ["data.tokenizer=char"],
    **{f"BPE {size}": ["data.tokenizer=bpe", f"data.vocab_size={size}"] for size in (512, 1024, 4096)},
}


def row(name: str, overrides: list[str], flops: float, folder: Path) -> str:
    """Train one tokenizer's model within the budget; its row of the table."""
    config = compose_run([*overrides, f"hydra.run.dir={folder}"]).config
    corpus = prepare(config.data)
    with torch.device("meta"):
        model = GPT(config.model, corpus.tokenizer.vocab_size)
    per_step = model.flops_per_token() * config.data.batch_size * config.model.block_size
    steps = max(1, round(flops / per_step))
    run = train([*overrides, f"hydra.run.dir={folder}", f"trainer.max_steps={steps}"])
    assert run is not None
    found = run.summary
    return (
        f"| {name} | {found['vocab_size']} | {found['params'] / 1e6:.2f} M | {steps} | "
        f"{corpus.chars_per_token('train'):.2f} | {found['tokens'] * corpus.chars_per_token('train') / 1e6:.1f} M | "
        f"{found['val/loss']:.4f} | {found['val/bpc']:.4f} |"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train on each tokenizer in turn and print the table in Markdown."""
    p = argparse.ArgumentParser(description="Bits per character of characters and subwords at equal training FLOPs.")
    p.add_argument("data", type=Path, help="a text, such as Grimm's tales")
    p.add_argument("--flops", type=float, default=6.4e12, help="of each training run: 600 steps of the default model")
    p.add_argument("overrides", nargs="*", help="of microgpt-train, for all runs: model=gpt-mini seed=1")
    a = p.parse_intermixed_args(argv)
    common = [f"data.path={a.data}", "trainer.progress=none", "eval.figures=never", "eval.every_n_steps=100",
              "sample.every_n_steps=0", *a.overrides]  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            row(name, [*common, *knobs], a.flops, Path(scratch) / name.replace(" ", "-"))
            for name, knobs in TOKENIZERS.items()
        ]
    print(f"\n{a.data.name}, {a.flops:.3g} floating-point operations each, the same validation text:\n")
    print("| tokenizer | vocabulary | parameters | steps | characters a token | characters read | nats a token | bpc |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
