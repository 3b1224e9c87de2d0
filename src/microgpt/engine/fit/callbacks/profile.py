"""Record some steps with torch's profiler; write profile.html and trace.json into the run folder."""

import html
import logging
import os
from pathlib import Path
from typing import Any

import lightning as L
import torch

from microgpt.engine.fit.callbacks.base import StepCallback
from microgpt.engine.fit.module import GPTModule
from microgpt.text import step_text

log = logging.getLogger("microgpt")

WARM = 2
"""Steps before the recorded ones, in which kernels are chosen and memory is allocated."""
SHOWN = 60
"""Operations in profile.html."""


class Profile(StepCallback):
    """Record `steps` steps after the warm-up, fewer if the run is shorter."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seen = steps, 0
        self.recorder: torch.profiler.profile | None = None

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        self.seen += 1
        if self.seen == WARM:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # above its own notes on stderr
            self.recorder = torch.profiler.profile(acc_events=True)
            self.recorder.start()
        elif self.seen == WARM + self.steps:
            self._finish(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._finish(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.recorder is not None:  # the run failed
            self.recorder.stop()

    def _finish(self, trainer: L.Trainer) -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return
        recorder.stop()
        if trainer.is_global_zero and self.seen > WARM:
            write(recorder, Path(trainer.default_root_dir), self.seen - WARM)


def write(recorder: Any, folder: Path, steps: int) -> None:
    """Write trace.json and profile.html."""
    recorder.export_chrome_trace(str(folder / "trace.json"))
    rows = [
        (
            event.key,
            event.count / steps,
            (event.self_cpu_time_total + getattr(event, "self_device_time_total", 0.0)) / 1e6,
        )
        for event in recorder.key_averages()
    ]
    (folder / "profile.html").write_text(page(rows, steps), encoding="utf-8")
    log.info("profiled %d steps: open %s; %s is their timeline for chrome://tracing", steps, folder / "profile.html",
             folder / "trace.json")  # fmt: skip


def page(rows: list[tuple[str, float, float]], steps: int) -> str:
    """A page that needs nothing else: the operations by their own time, as bars.

    Args:
        rows: (operation, calls per step, seconds over all steps).
    """
    total = sum(seconds for _, _, seconds in rows) or 1.0
    lines = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="n">{calls:,.1f}</td>'
        f'<td class="n">{step_text(seconds / steps)}</td>'
        f'<td class="n">{seconds / total:.1%}</td><td><div style="width: {20 * seconds / total:.2f}em"></div></td></tr>'
        for name, calls, seconds in sorted(rows, key=lambda row: -row[2])[:SHOWN]
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>microgpt: profile</title>
<style>:root {{ color-scheme: light dark; font: 14px sans-serif }} td, th {{ padding: 2px 10px; text-align: left }}
td:first-child {{ overflow-wrap: anywhere }} @media (width < 600px) {{ td:last-child {{ display: none }} }}
.n {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }}
div {{ height: 0.9em; background: #0072b2 }}</style>
<h1>Time by operation</h1><p>{steps} steps, {step_text(total / steps)} of work a step; an operation's own time, without
the operations that it calls.</p>
<table><tr><th>operation</th><th>calls a step</th><th>time a step</th><th>share</th><th></th></tr>{lines}</table></html>
"""
