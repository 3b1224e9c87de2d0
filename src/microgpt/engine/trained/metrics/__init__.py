"""The metrics that an evaluation reports, one class each.

A class defines a metric completely: its name, unit, better direction, computation and display. To add one, put a file
into this folder, or name a file of your own in `imports=`. Importing this package does not import torch.
"""

from microgpt.engine.trained.metrics.base import Metric, ScoredBatch, Totals
from microgpt.engine.trained.metrics.likelihood import Loss  # tables begin with the loss
from microgpt.registry import import_siblings

import_siblings(__name__, __path__)

__all__ = ["Loss", "Metric", "ScoredBatch", "Totals"]
