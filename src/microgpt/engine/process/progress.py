"""Show a run's progress: a rich progress bar in a terminal, occasional lines elsewhere."""

import logging
import sys
import time
from typing import Any, Literal

from microgpt import streams
from microgpt.text import printable

log = logging.getLogger("microgpt")

Style = Literal["auto", "bar", "lines", "none"]


class Progress:
    """Show loss, tokens/s and time left; print messages without breaking the bar."""

    def __init__(self, style: Style, total: int, tokens_per_step: int, every_seconds: float = 5.0) -> None:
        if style == "auto":
            style = "bar" if streams.is_terminal(sys.stdout) else "lines"
        self.style, self.total, self.every_seconds = style, total, every_seconds
        self.tokens_per_step = tokens_per_step
        self._bar: Any = None
        self._task: Any = None
        self._next_line = 0.0

    def start(self, step: int) -> None:
        """Start the display at `step`."""
        if self.style != "bar":
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
        self._bar = Bar(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), refresh_per_second=4)
        self._task = self._bar.add_task("training", total=self.total, completed=step, figures="")
        self._bar.start()

    def step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Show a logged step's loss and speed."""
        figures = f"loss {loss:.4f}  {tokens_per_second:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif self.style == "lines" and (step == self.total or time.monotonic() >= self._next_line):
            self._next_line = time.monotonic() + self.every_seconds
            left = (self.total - step) * self.tokens_per_step / max(1.0, tokens_per_second)
            log.info("step %d/%d  %s  %.0f s left", step, self.total, figures, left)

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
