"""A step that a plan tries, or computes the memory of."""

from dataclasses import dataclass

from microgpt.engine.config import RunConfig


@dataclass(frozen=True)
class Trial:
    """A step of a run, and the evaluation after it, on one device.

    Attributes:
        accelerator: the torch device type.
        precision: a number format that this device has.
        compiled: whether the model is compiled.
        sequences: of the optimizer step.
        micro: of them that go through the model at once.
        scored: windows that the evaluation takes at once; 0 for none.
    """

    config: RunConfig
    vocab_size: int
    accelerator: str
    precision: str
    compiled: bool
    sequences: int
    micro: int
    scored: int
