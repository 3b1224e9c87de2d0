"""The step that a plan times, and whose memory it computes."""

from dataclasses import dataclass

from microgpt.engine.config import RunConfig


@dataclass(frozen=True)
class Trial:
    """A step of a run, and the evaluation after it, on one device.

    Attributes:
        accelerator: the torch device type.
        precision: a Lightning precision that the device supports.
        compiled: whether the model is compiled.
        sequences: sequences per optimizer step.
        micro: sequences per micro-batch.
        scored: windows per evaluation batch; 0 means no evaluation.
    """

    config: RunConfig
    vocab_size: int
    accelerator: str
    precision: str
    compiled: bool
    sequences: int
    micro: int
    scored: int
