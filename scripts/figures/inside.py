"""Inside a small model that has learnt to repeat: surprisal, an induction head, and when such heads appear.

    python scripts/figures/inside.py

The text is that of examples/3_attention.ipynb: random words, each written four times.
"""

import random
import string
from collections.abc import Sequence

import torch
import yaml

from figure_rig import PLAIN, Rig, draw
from microgpt import GPT, CharTokenizer, GPTConfig, fit
from microgpt.inspect import induction_history, induction_score

FIGURES = ("surprisal.png", "attention.png", "induction.png")
LETTERS = string.ascii_letters[:40]


def main(argv: Sequence[str] | None = None) -> None:
    """Train the model and draw what `run.inspect` finds."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train on words that repeat, with an eye on the heads."""
    draws = random.Random(0)
    words = ("".join(draws.sample(LETTERS, draws.randint(5, 16))) for _ in range(400 if rig.quick else 10_000))
    text = "".join(f"{word * 4}\n" for word in words)
    tokenizer = CharTokenizer.from_text(text)
    torch.manual_seed(0)
    config = GPTConfig(n_layer=2, n_head=4, n_embd=64, block_size=32, pos="rope", mlp_hidden=64)
    run = fit(
        GPT(config, tokenizer.vocab_size), text, tokenizer, steps=rig.steps(600), folder=rig.scratch / "run",
        optim="adamw", optim__lr=0.006, data__batch_size=4 if rig.quick else 64,
        inspect__every_n_steps=2 if rig.quick else 15, eval__every_n_steps=2 if rig.quick else 60,
        **{name.replace(".", "__"): yaml.safe_load(value) for name, value in (word.split("=") for word in PLAIN)},
    )  # fmt: skip
    word = "".join(random.Random(5).sample(LETTERS, 12))
    trace = run.inspect("\n" + word * 2)
    layer, head, _ = induction_score(run).ranked()[0]
    for figure, name in zip(
        (trace.surprisal().plot(), trace.attention(layer, head).plot(), induction_history(run).plot()), FIGURES,
        strict=True,
    ):  # fmt: skip
        rig.save(figure, name)


if __name__ == "__main__":
    main()
