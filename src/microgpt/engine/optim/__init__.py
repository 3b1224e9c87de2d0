"""Optimizers, one file each; a config builds its torch optimizer from the model's named parameters."""

from microgpt.engine.discover import import_siblings
from microgpt.engine.optim.base import OptimConfig

import_siblings(__name__, __path__)

__all__ = ["OptimConfig"]
