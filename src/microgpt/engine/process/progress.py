"""Show a run's progress: a bar in a terminal or a notebook, occasional lines elsewhere."""

import logging
import sys
import time
from typing import Any, Literal

from microgpt import streams
from microgpt.engine.process.notebook import NotebookBar, is_notebook
from microgpt.text import printable

log = logging.getLogger("microgpt")

Style = Literal["auto", "bar", "lines", "none"]


class Progress:
    """Show loss, tokens/s and time left; print messages without breaking the bar."""

    def __init__(self, style: Style, total: int, tokens_per_step: int, every_seconds: float = 5.0) -> None:
        if style == "auto":
            style = "bar" if streams.is_terminal(sys.stdout) or is_notebook() else "lines"
        self.style, self.total, self.every_seconds = style, total, every_seconds
        self.tokens_per_step = tokens_per_step
        self._notebook = NotebookBar(total) if style == "bar" and is_notebook() else None
        self._bar: Any = None
        self._task: Any = None
        self._next_line = 0.0

    def start(self, step: int) -> None:
        """Start the display at `step`."""
        if self._notebook is not None:
            self._notebook.show(step, "training", "")
        elif self.style == "bar":
            self._start_bar(step)

    def _start_bar(self, step: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
        self._bar = Bar(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), refresh_per_second=4)
        self._task = self._bar.add_task("training", total=self.total, completed=step, figures="")
        self._bar.start()

    def compiling(self) -> None:
        """Show that the first step compiles the model, which can take minutes."""
        if self._bar is not None:
            self._bar.update(self._task, description="compiling")
        self.say("compiling the model: usually less than a minute, longer on a busy machine")

    def compiled(self, step: int, seconds: float) -> None:
        """Show that `step` ended and has compiled the model; the time left is estimated from here on."""
        if self._bar is not None:
            self._bar.reset(self._task, completed=step, description="training", figures="")
        self.say(f"compiled in {seconds:.0f} s")

    def step(self, step: int, loss: float, tokens_per_second: float | None) -> None:
        """Show a logged step's loss and speed; None where the speed is not known yet."""
        figures, left = f"loss {loss:.4f}", ""
        if tokens_per_second is not None:
            figures += f"  {tokens_per_second:,.0f} tokens/s"
            left = f"  {(self.total - step) * self.tokens_per_step / max(1.0, tokens_per_second):.0f} s left"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif self._notebook is not None:
            if step == self.total or self._is_due(0.25):
                self._notebook.show(step, "training", figures + left)
        elif self.style == "lines" and (step == self.total or self._is_due(self.every_seconds)):
            log.info("step %d/%d  %s%s", step, self.total, figures, left)

    def _is_due(self, every: float) -> bool:
        """Whether `every` seconds have passed since this last returned true."""
        if time.monotonic() < self._next_line:
            return False
        self._next_line = time.monotonic() + every
        return True

    def say(self, text: str) -> None:
        """Print a message of one or more lines."""
        text = printable(text)
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
            log.debug("%s", text)
        elif self.style != "none":
            log.info("%s", text)
        else:
            log.debug("%s", text)

    def stop(self) -> None:
        """Remove the bar; messages still appear."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self.style = "lines"
