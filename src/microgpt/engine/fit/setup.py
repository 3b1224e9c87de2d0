"""What a run is made of: found out once, whole, and passed on."""

from dataclasses import dataclass
from pathlib import Path

import torch

from microgpt.data.corpus import Corpus
from microgpt.data.windows import Windows
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.world import World
from microgpt.engine.resume import Start
from microgpt.engine.store.run_folder import RunDir
from microgpt.model import GPT


@dataclass(frozen=True)
class TrainerSetup:
    """What a Trainer needs to know of a run, whatever the model and the text are.

    Attributes:
        accelerator: the torch device type that it computes on.
        precision: a number format that this device has.
        steps: optimizer steps, from the first of the run to the last.
        folder: where Lightning may put files of its own.
    """

    config: RunConfig
    accelerator: str
    precision: str
    world: World
    steps: int
    folder: Path


@dataclass(frozen=True)
class Setup(TrainerSetup):
    """A run just before training.

    Attributes:
        start: where training begins: at step 0 or at a checkpoint.
        compiled: whether the model is compiled.
    """

    corpus: Corpus
    model: GPT
    run_dir: RunDir
    start: Start
    compiled: bool

    def windows(self, device: torch.device, stream: str) -> Windows:
        """The run's batches, or those of another stream for anything that must not touch them."""
        config = self.config
        return Windows(
            self.corpus.train,
            config.model.block_size,
            config.data.batch_size,
            config.seed,
            config.data.sampling,
            device,
            stream,
        )
