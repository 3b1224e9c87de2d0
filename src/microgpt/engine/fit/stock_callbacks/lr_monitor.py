"""The learning rate of every parameter group (Lightning's LearningRateMonitor)."""

from typing import Any

from microgpt.engine.addons import CallbackConfig


class LRMonitorConfig(CallbackConfig, name="lr_monitor"):
    """Logs the rate of each parameter group; the run itself logs that of the first, as `lr`."""

    log_weight_decay: bool = False
    "Log each group's weight decay too."

    def build(self) -> Any:
        from lightning.pytorch.callbacks import LearningRateMonitor

        return LearningRateMonitor(logging_interval="step", log_weight_decay=self.log_weight_decay)
