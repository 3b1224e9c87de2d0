"""A sweep of learning rates and position schemes, as microgpt-compare draws it.

python scripts/figures/sweep.py
"""

from collections.abc import Sequence

from figure_rig import SMALL, Rig, draw
from microgpt.engine.commands import compare, train

FIGURES = ("sweep.png",)


def main(argv: Sequence[str] | None = None) -> None:
    """Sweep, compare, keep the heat map."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Three schemes, three learning rates, two seeds."""
    rates, seeds = ("0.005,0.02", "1") if rig.quick else ("0.005,0.02,0.08", "1,2")
    schemes = "rope,alibi" if rig.quick else "rope,alibi,none"
    words = rig.words(
        f"trainer.max_steps={rig.steps(100)}", "eval.every_n_steps=0", *SMALL,
        f"model.pos={schemes}", f"optim.lr={rates}", f"seed={seeds}",
    )  # fmt: skip
    assert train.main(["-m", *words, f"hydra.sweep.dir={rig.scratch}/sweep"]) == 0
    assert compare.main([f"{rig.scratch}/sweep", "--figures", f"{rig.scratch}/drawn"]) == 0
    rig.take(rig.scratch / "drawn" / "score-by-two-knobs.png", FIGURES[0])


if __name__ == "__main__":
    main()
