"""Evaluation protocols, one file each: which windows of a text to score, and with how much context.

To add one, put a file into this folder, or name a file of your own in `imports=`.
"""

from microgpt.engine.trained.protocols.base import EvalProtocol
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["EvalProtocol"]
