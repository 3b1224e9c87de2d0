"""The table of metrics: every figure that an evaluation reports, one class each.

A metric's class says everything about it: name, unit, which direction is better, how it is computed and where it is
shown. To add one, put a file into this folder, or into your own and name it in `imports=`. Needs no torch to import.
"""

from microgpt.engine.trained.metrics.base import Metric, ScoredBatch, Totals
from microgpt.engine.trained.metrics.likelihood import Loss  # tables begin with the loss
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Loss", "Metric", "ScoredBatch", "Totals"]
