"""What pretraining is worth on a short text, and what fine-tuning forgets: from nothing, fine-tuned, and LoRA.

    python scripts/figures/finetuning.py

A model that was trained on Python's manual goes on with the source of one of Python's modules.
"""

import argparse
import inspect
import math
from collections.abc import Sequence
from pydoc_data.topics import topics

from figure_rig import Rig, draw, points
from microgpt import evaluate
from microgpt.engine.trained.drawing import COLOURS, new_figure
from microgpt.engine.trained.run import Run

FIGURES = ("finetuning.png",)
MODEL = ("model.n_layer=3", "model.n_embd=96", "model.n_head=4", "model.block_size=64", "model.norm=rmsnorm",
         "model.mlp=swiglu", "model.init=gpt2", "model.qk_norm=false", "optim=adamw")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Train the base and the three ways, and draw them."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Pretrain on the manual, then learn a module's source in three ways."""
    manual, code = rig.scratch / "manual.txt", rig.scratch / "code.txt"
    text = "\n".join(topics[name] for name in sorted(topics))
    manual.write_text(text, encoding="utf-8")
    known = set(text)
    code.write_text("".join(c for c in inspect.getsource(argparse) if c in known), encoding="utf-8")
    base = rig.train("base", *MODEL, "optim.lr=4e-3", f"data.path={manual}", f"trainer.max_steps={rig.steps(400)}",
                     "eval.every_n_steps=0")  # fmt: skip
    start = f"model.pretrained={base.folder}"
    ways = {
        "from nothing": (*MODEL, "optim.lr=4e-3"),
        "fine-tuned": (start, "optim=adamw", "optim.lr=2e-3"),
        "LoRA, rank 4": (start, "optim=adamw", "optim.lr=1e-2", "lora.rank=4", "lora.targets=['attn.*','mlp.*']"),
    }
    runs = {
        name: rig.train(name, f"data.path={code}", f"trainer.max_steps={rig.steps(100)}",
                        f"eval.every_n_steps={2 if rig.quick else 10}", *words)
        for name, words in ways.items()
    }  # fmt: skip
    held_out = base.tokenizer.encode(manual.read_text(encoding="utf-8"))[-20_000:]
    after = {"before": base, **{name: run for name, run in runs.items() if name != "from nothing"}}
    kept = {name: evaluate(run.model, held_out).loss / math.log(2) for name, run in after.items()}
    rig.save(panels(runs, kept), FIGURES[0])


def panels(runs: dict[str, Run], kept: dict[str, float]) -> object:
    """The score on the new text by step, and at the end on the old one."""
    figure, (left, right) = new_figure(6.4, 6, panels=(2, 1))
    left.get_gridspec().set_height_ratios([3, 1.4])
    colours = dict(zip(runs, ("#7F7F7F", COLOURS[0], COLOURS[1]), strict=True))
    for name, run in runs.items():
        steps, scores = points(run, "val/bpc")
        left.plot(steps, scores, "o-", color=colours[name], markersize=4, label=f"{name}: {scores[-1]:.2f}")
        print(f"{name}: {scores[-1]:.3f} bits per character of the module")
    left.set(xlabel="step on the module's source", ylabel="bits per character", title="the new text: argparse.py")
    left.legend(fontsize=9, frameon=False)
    print("of the manual:", ", ".join(f"{name} {score:.3f}" for name, score in kept.items()))
    names = list(kept)[::-1]
    bars = {"before": COLOURS[2], **colours}
    right.barh(names, [kept[name] for name in names], color=[bars[name] for name in names])
    for i, name in enumerate(names):
        right.text(kept[name], i, f" {kept[name]:.2f}", va="center", fontsize=9)
    right.set(xlabel="bits per character", title="the old text, Python's manual, afterwards")
    return figure


if __name__ == "__main__":
    main()
