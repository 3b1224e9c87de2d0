"""The loggers that `logger=` offers, one file each; building one imports Lightning."""

from microgpt.registry import import_siblings

import_siblings(__name__, __path__)
