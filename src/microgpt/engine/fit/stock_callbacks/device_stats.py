"""Use of the device (Lightning's DeviceStatsMonitor)."""

from typing import Any, ClassVar

from microgpt.engine.addons import CallbackConfig


class DeviceStatsConfig(CallbackConfig, name="device_stats"):
    """Logs the memory of the GPU's allocator, or the load of a CPU, at the steps that are logged."""

    packages: ClassVar[tuple[str, ...]] = ("psutil",)

    def build(self) -> Any:
        from lightning.pytorch.callbacks import DeviceStatsMonitor

        return DeviceStatsMonitor()
