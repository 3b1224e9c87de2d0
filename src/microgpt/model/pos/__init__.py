"""The position schemes, one module each; every module in this folder is found and registered by being here."""

from microgpt.model.pos.base import Position, PositionConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Position", "PositionConfig"]
