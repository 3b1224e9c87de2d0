"""The MLPs, one module each; importing this package registers every module in the folder."""

from microgpt.model.mlp.base import MLP, GatedMLP, GatedMLPConfig, MLPConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["MLP", "GatedMLP", "GatedMLPConfig", "MLPConfig"]
