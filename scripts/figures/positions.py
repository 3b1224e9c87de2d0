"""The README's figure: the default run with four position schemes, validation loss against steps.

    python scripts/figures/positions.py [--steps 600] [--out scripts/figures/positions.png] [overrides ...]

Takes a few minutes on two CPU cores. Every run is a function of its configuration and seed, so it repeats.
"""

import argparse
import csv
import tempfile
from pathlib import Path

from microgpt import train
from microgpt.data.corpus import prepare
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.trained.evaluate import yardsticks
from microgpt.engine.trained.figures import new_figure

SCHEMES = ("rope", "alibi", "learned", "none")


def curve(scheme: str, steps: int, folder: Path, overrides: list[str]) -> tuple[list[int], list[float]]:
    """Train with one scheme; steps and val/loss at each evaluation."""
    run_dir = folder / scheme
    train(
        [
            *overrides,
            f"model.pos={scheme}",
            f"trainer.max_steps={steps}",
            f"eval.every_n_steps={max(1, steps // 12)}",
            "eval.figures=never",
            "sample.every_n_steps=0",
            f"hydra.run.dir={run_dir}",
        ]
    )
    with (run_dir / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    return [int(row["step"]) for row in rows], [float(row["val/loss"]) for row in rows]


def main() -> None:
    """Train the schemes and draw the figure."""
    p = argparse.ArgumentParser(description="Validation loss of the default run with four position schemes.")
    p.add_argument("--steps", type=int, default=600)
    p.add_argument("--out", type=Path, default=Path(__file__).with_name("positions.png"))
    p.add_argument("overrides", nargs="*")
    a = p.parse_args()
    corpus = prepare(compose_run(a.overrides).config.data)
    counted = yardsticks(corpus.train, corpus.val, corpus.tokenizer.vocab_size)
    figure, axes = new_figure(7, 4)
    with tempfile.TemporaryDirectory() as folder:
        for scheme in SCHEMES:
            steps, losses = curve(scheme, a.steps, Path(folder), a.overrides)
            axes.plot(steps, losses, marker="o", markersize=3, label=f"model.pos={scheme}")
            print(f"{scheme}: {losses[-1]:.4f} nats per token after {steps[-1]} steps")
    axes.axhline(counted["5-gram counts"], color="gray", linestyle="--", linewidth=1)
    axes.annotate("5-gram counts", (a.steps, counted["5-gram counts"]), ha="right", va="bottom", color="gray")
    axes.set_xlabel("steps of 32 x 64 characters")
    axes.set_ylabel("validation loss (nats per character)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(a.out, dpi=130)
    print(f"wrote {a.out}")


if __name__ == "__main__":
    main()
