"""A small model with four position schemes, validation loss against steps.

    python scripts/figures/positions.py

Every run is a function of its configuration and seed, so it repeats.
"""

from collections.abc import Sequence

from figure_rig import SMALL, Rig, draw, points
from microgpt.data.corpus import prepare
from microgpt.engine.compose.compose import compose_run
from microgpt.engine.trained.drawing import COLOURS, mark, new_figure
from microgpt.engine.trained.evaluate import yardsticks

FIGURES = ("positions.png",)
SCHEMES = ("rope", "alibi", "learned", "none")


def main(argv: Sequence[str] | None = None) -> None:
    """Train the schemes and draw the figure."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train with each scheme; draw the losses beside what counting reaches."""
    corpus = prepare(compose_run(rig.overrides).config.data)
    counted = yardsticks(corpus.train, corpus.val, corpus.tokenizer.vocab_size)["5-gram counts"]
    figure, axes = new_figure(6.4, 3.8)
    for i, scheme in enumerate(SCHEMES):
        every = f"eval.every_n_steps={2 if rig.quick else 50}"
        run = rig.train(scheme, *SMALL, f"model.pos={scheme}", f"trainer.max_steps={rig.steps(300)}", every)
        steps, losses = points(run, "val/loss")
        axes.plot(steps, losses, **mark(i), markersize=4, label=f"model.pos={scheme}: {losses[-1]:.3f}")
        print(f"{scheme}: {losses[-1]:.4f} nats per character after {steps[-1]:.0f} steps")
    axes.axhline(counted, color=COLOURS[7], linestyle="--", linewidth=1, label=f"5-gram counts: {counted:.3f}")
    axes.set_xlabel("step (32 x 64 characters each)")
    axes.set_ylabel("validation loss (nats per character)")
    axes.legend(fontsize=9, frameon=False)
    rig.save(figure, FIGURES[0])


if __name__ == "__main__":
    main()
