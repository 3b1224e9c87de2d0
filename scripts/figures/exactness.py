"""What changes a run's bits and what does not: the loss of one configuration, run in six ways.

python scripts/figures/exactness.py
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from figure_rig import SMALL, Rig, draw
from microgpt.engine.store.metrics_file import read_curves
from microgpt.engine.trained.drawing import COLOURS, new_figure

FIGURES = ("exactness.png", "devices.png")
WAYS = {
    "killed three times and started again": (),
    "evaluated, sampled, saved 20 times as often": (
        "eval.every_n_steps=5", "sample.every_n_steps=5", "sample.max_new_tokens=8", "checkpoint.every_n_steps=5",
    ),
    "in micro-batches of 4": ("trainer.micro_batch_size=4",),
    "on two processes": ("trainer.devices=2",),
    "on two threads": ("trainer.threads=2",),
}  # fmt: skip
KILLED, WATCHED, _, PROCESSES, _ = WAYS
EXACT = (KILLED, WATCHED)
Losses = dict[int, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Train in each way and draw the differences."""
    draw(script, __doc__, argv)


def script(rig: Rig) -> None:
    """Train unbroken, then in each way; compare the training loss of each step."""
    unbroken = losses(rig.train("unbroken", *words(rig)).folder)
    found: dict[str, Losses] = {}
    for i, (name, more) in enumerate(WAYS.items()):
        folder = rig.scratch / str(i)
        if name == KILLED:
            killed(rig.words(*words(rig), f"hydra.run.dir={folder}"), folder, [6] if rig.quick else [37, 75, 112])
        else:
            rig.train(folder.name, *words(rig), *more)
        found[name] = losses(folder)
    differences(rig, unbroken, found)
    processes(rig, unbroken, found[PROCESSES])


def steps(rig: Rig) -> int:
    """The steps of each run."""
    return 12 if rig.quick else 150


def words(rig: Rig) -> tuple[str, ...]:
    """What all the runs have in common."""
    return (f"trainer.max_steps={steps(rig)}", "trainer.log_every_n_steps=1", "eval.every_n_steps=100",
            "checkpoint.every_n_steps=3",
            *SMALL)  # fmt: skip


def killed(overrides: list[str], folder: Path, kills: Sequence[int]) -> None:
    """Run the command to its end, killing it at these steps and starting it again."""
    command = [sys.executable, "-m", "microgpt.engine.commands.train", *overrides]
    for step in kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(at >= step for at in losses(folder)):
            time.sleep(0.02)
        process.kill()
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def losses(folder: Path) -> Losses:
    """Step -> training loss of a run that may still be writing."""
    return {int(step): loss for step, loss in read_curves(folder / "metrics.csv").get("train/loss", [])}


def differences(rig: Rig, unbroken: Losses, found: dict[str, Losses]) -> None:
    """Draw how far each way's training loss is from the unbroken run's."""
    figure, (top, axes) = new_figure(6.4, 5.6, panels=(2, 1))
    top.plot(unbroken.keys(), unbroken.values(), color="#555555", linewidth=1.2)
    top.set_ylabel("training loss (nats)", fontsize=9)
    top.set_title("one run, unbroken, on one thread", fontsize=9)
    for (name, loss), colour in zip(found.items(), COLOURS, strict=False):
        assert loss.keys() == unbroken.keys(), name
        apart = [abs(loss[step] - unbroken[step]) for step in loss]
        print(f"{name}: at most {max(apart):.2g} nats from the unbroken run")
        label = f"{name}: {'0 at every step' if not any(apart) else f'at most {max(apart):.1g}'}"
        style = "-" if name == KILLED else "--" if name == WATCHED else "-"
        axes.plot(loss.keys(), apart, style, color=colour, linewidth=2.2 if name in EXACT else 1.2, label=label)
    axes.set_yscale("symlog", linthresh=1e-7)
    axes.set_ylim(bottom=-2e-8)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("difference from it (nats)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    rig.save(figure, FIGURES[0])


def processes(rig: Rig, one: Losses, two: Losses) -> None:
    """Draw the training loss on one process and on two."""
    figure, axes = new_figure(6.4, 3.2)
    axes.plot(one.keys(), one.values(), color=COLOURS[1], linewidth=4, alpha=0.45, label="one process")
    axes.plot(two.keys(), two.values(), color=COLOURS[0], linewidth=1, label="two processes, half a batch each")
    apart = max(abs(two[step] - one[step]) for step in one)
    axes.set_title(f"the largest difference of a step's loss is {apart:.1g} nats", fontsize=9)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("training loss (nats)", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    rig.save(figure, FIGURES[1])


if __name__ == "__main__":
    main()
