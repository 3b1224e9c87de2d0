"""The position schemes, one module each; importing this package registers every module in the folder."""

from microgpt.model.pos.base import Position, PositionConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Position", "PositionConfig"]
