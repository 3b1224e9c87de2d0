"""Evaluation protocols: which windows of a text are scored, and with how much context. One file each.

To add one, put a file into this folder, or into your own and name it in `imports=`.
"""

from microgpt.engine.trained.protocols.base import EvalProtocol
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["EvalProtocol"]
