"""Export formats, one file each; importing this package registers every module in it."""

from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["ExportFormat"]
