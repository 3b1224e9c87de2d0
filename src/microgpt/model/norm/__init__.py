"""The norms, one module each; every module in this folder is found and registered by being here."""

from microgpt.model.norm.base import NormConfig
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["NormConfig"]
