"""Export formats, one file each; every module in this folder is found and registered by being here."""

from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["ExportFormat"]
