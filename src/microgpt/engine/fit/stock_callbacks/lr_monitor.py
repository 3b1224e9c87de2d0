"""Each parameter group's learning rate (Lightning's LearningRateMonitor)."""

from typing import Any

from microgpt.engine.addons import CallbackConfig


class LRMonitorConfig(CallbackConfig, name="lr_monitor"):
    """Logs each parameter group's learning rate; the run itself logs the first group's, as `lr`."""

    log_weight_decay: bool = False
    "Log each group's weight decay too."

    def build(self) -> Any:
        from lightning.pytorch.callbacks import LearningRateMonitor

        return LearningRateMonitor(logging_interval="step", log_weight_decay=self.log_weight_decay)
