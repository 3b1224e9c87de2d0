"""Device usage (Lightning's DeviceStatsMonitor)."""

from typing import Any, ClassVar

from microgpt.engine.addons import CallbackConfig


class DeviceStatsConfig(CallbackConfig, name="device_stats"):
    """Logs the GPU allocator's memory, or the CPU load, at each logged step."""

    packages: ClassVar[tuple[str, ...]] = ("psutil",)

    def build(self) -> Any:
        from lightning.pytorch.callbacks import DeviceStatsMonitor

        return DeviceStatsMonitor()
