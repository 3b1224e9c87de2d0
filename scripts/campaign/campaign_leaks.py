"""A long run with many saves: memory, descriptors and threads stay as they are, and exactly k checkpoints are left."""

import threading
from pathlib import Path
from typing import Any

import psutil

from campaign_rig import composed, ended, forked, train, write_text
from microgpt.engine.fit.callbacks import save

WARM = 0.1
"""Share of the run after which memory must not grow."""


def leaks(folder: Path, steps: int, every: int) -> dict[str, Any]:
    """Train `steps` tiny steps with a save each `every`."""
    text = write_text(folder / "text.txt")
    run = composed(
        text,
        "optim=adamw",
        f"trainer.max_steps={steps}",
        f"checkpoint.every_n_steps={every}",
        "checkpoint.keep=3",
        f"eval.every_n_steps={max(1, steps // 50)}",
        "model.n_embd=8",
        "model.block_size=8",
        "data.batch_size=2",
        "trainer.log_every_n_steps=50",
    )
    rows = folder / "rows.txt"

    def work() -> int:
        process, told = psutil.Process(), save.Save.on_step_end

        def tell(self: Any, trainer: Any, module: Any, step: int) -> None:
            told(self, trainer, module, step)
            if step % max(1, steps // 100) == 0:
                with rows.open("a") as file:
                    facts = (step, process.memory_info().rss, process.num_fds(), threading.active_count())
                    file.write(" ".join(map(str, facts)) + "\n")

        save.Save.on_step_end = tell  # type: ignore[method-assign]  # in a fork of its own
        return train(run, folder / "run")

    code = ended(forked(work, folder / "out.txt"))
    table = [list(map(int, line.split())) for line in rows.read_text().splitlines()]
    warm = table[int(len(table) * WARM) :]
    growth = warm[-1][1] / warm[0][1] - 1
    kept = sorted(path.name for path in (folder / "run" / "checkpoints").iterdir())
    stray = sorted(p.name for p in (folder / "run").rglob(".*"))
    figures = {
        "exit code": code,
        "steps": steps,
        "saves": steps // every,
        "memory after warm-up": f"{warm[0][1] / 1e6:.1f} MB",
        "growth": f"{growth:.2%}",
        "descriptors": [warm[0][2], warm[-1][2]],
        "threads": [warm[0][3], warm[-1][3]],
        "checkpoints": kept,
        "stray files": stray,
    }
    # The newest three, and the best where it is none of them.
    figures["passed"] = (
        code == 0
        and growth < 0.05
        and warm[-1][2] <= warm[0][2]
        and warm[-1][3] <= warm[0][3]
        and len(kept) in (3, 4)
        and not stray
    )
    return figures
