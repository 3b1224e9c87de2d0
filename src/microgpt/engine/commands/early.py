"""Check a command line before torch is loaded, so that a mistake is answered at once."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from microgpt.config import Config
from microgpt.engine.compose.consent import key_of


def check_early(check: Callable[[type[Config]], Any], overrides: Sequence[str], trust: bool = False) -> None:
    """Call `check` with a configuration class read from the sources, unless it could not answer for the command line.

    With parts of the user's own, or once torch is loaded, only the real classes will do.

    Raises:
        UsageError: whatever `check` raises.
    """
    if trust or "torch" in sys.modules or any(key_of(word) == "imports" for word in overrides):
        return
    from microgpt.engine.commands.outline import outline
    from microgpt.engine.commands.sources import Sources

    check(outline(Sources()))
