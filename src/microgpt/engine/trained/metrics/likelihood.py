"""The likelihood of the text, on four scales.

Training minimises the loss and keeps the weights with the lowest; bits per character and per byte compare across
tokenizers.
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
    """Cross-entropy in bits, shared among the text's characters."""

    unit = "bits per character"
    progress_format = ".4f"
    headline = True

    def result(self, totals: Totals) -> float:
        return totals.loss / math.log(2) / totals.chars_per_token


class BitsPerByte(Metric, name="bpb"):
    """Cross-entropy in bits, shared among the text's bytes of UTF-8."""

    unit = "bits per byte"

    def result(self, totals: Totals) -> float:
        return totals.loss / math.log(2) / totals.bytes_per_token


class Perplexity(Metric, name="perplexity"):
    """The number of equally likely tokens that the loss amounts to."""

    format = ".3f"

    def result(self, totals: Totals) -> float:
        return math.exp(min(totals.loss, 700.0))  # above which a float64 overflows
