"""Readers of other projects' checkpoints, one file each; every module in this folder is found by being here."""

from microgpt.engine.exchange.importers.base import Importer
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Importer"]
