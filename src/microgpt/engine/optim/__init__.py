"""Optimizers, one per file. Each config builds its torch optimizer from the model's named parameters."""

from microgpt.engine.optim.base import OptimConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["OptimConfig"]
