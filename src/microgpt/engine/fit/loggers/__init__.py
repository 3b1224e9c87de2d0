"""Loggers that `logger=` chooses from, one file each; Lightning is imported when one is built."""

from microgpt.registry import import_siblings

import_siblings(__name__, __path__)
