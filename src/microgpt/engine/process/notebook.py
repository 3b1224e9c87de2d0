"""Whether this is a notebook, and its progress bar: one output that is updated, needing no widget package."""

import html
import sys
from typing import Any


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    return getattr(shell, "kernel", None) is not None


class NotebookBar:
    """A bar under a cell. The last state stays in the saved notebook.

    Args:
        total: the steps of a full bar.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._handle: Any = None

    def show(self, step: int, description: str, figures: str) -> None:
        """Show the bar, or update it."""
        from IPython.display import HTML, display

        shown: Any = HTML(bar_html(step, self.total, description, figures))
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def bar_html(step: int, total: int, description: str, figures: str) -> str:
    """A progress element with its numbers beside it."""
    text = html.escape(f"{description} {step}/{total}  {figures}")
    return (
        f'<progress value="{step}" max="{total}" style="width: 16em; vertical-align: middle" '
        f'aria-label="{html.escape(description)}"></progress> <code>{text}</code>'
    )
