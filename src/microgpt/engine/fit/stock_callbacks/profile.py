"""Profile a few steps (torch.profiler) and write what opens in a browser."""

from typing import Any

from microgpt.config import Count
from microgpt.engine.addons import CallbackConfig


class ProfileConfig(CallbackConfig, name="profile"):
    """Records a few early steps. In the run folder, `profile.html` lists the operations by time, and `trace.json` is
    their timeline for chrome://tracing or https://ui.perfetto.dev."""

    steps: Count = 5
    "Steps to record, after two to warm up."

    def build(self) -> Any:
        from microgpt.engine.fit.callbacks.profile import Profile

        return Profile(self.steps)
