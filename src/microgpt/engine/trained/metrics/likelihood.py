"""The likelihood of the text, on four scales.

Training minimises the loss and keeps the weights with the lowest; bits per character and per byte are comparable
across tokenizers.
"""

import math

from microgpt.engine.trained.metrics.base import Metric, Totals


class Loss(Metric, name="loss"):
    """Cross-entropy."""

    unit = "nats per token"
    progress_format = ".4f"

    def result(self, totals: Totals) -> float:
        return totals.loss


class BitsPerCharacter(Metric, name="bpc"):
    """Cross-entropy in bits per character of the text."""

    unit = "bits per character"
    progress_format = ".4f"
    headline = True

    def result(self, totals: Totals) -> float:
        return totals.loss / math.log(2) / totals.chars_per_token


class BitsPerByte(Metric, name="bpb"):
    """Cross-entropy in bits per UTF-8 byte of the text."""

    unit = "bits per byte"

    def result(self, totals: Totals) -> float:
        return totals.loss / math.log(2) / totals.bytes_per_token


class Perplexity(Metric, name="perplexity"):
    """exp(loss): the number of equally likely tokens with the same loss."""

    format = ".3f"

    def result(self, totals: Totals) -> float:
        return math.exp(min(totals.loss, 700.0))  # exp of more overflows a float64
