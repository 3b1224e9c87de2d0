"""The position schemes, one module each; every module in this folder is found and registered by being here."""

import importlib
import pkgutil

from microgpt.model.pos.base import Position, PositionConfig

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Position", "PositionConfig"]
