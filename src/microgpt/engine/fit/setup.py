"""Everything that a run's training needs, resolved once and passed on."""

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
    """The settings that a Trainer needs, independent of the model and the text.

    Attributes:
        accelerator: the torch device type to compute on.
        precision: a number format that this device supports.
        steps: optimizer steps of the whole run.
        folder: a folder for Lightning's own files.
    """

    config: RunConfig
    accelerator: str
    precision: str
    world: World
    steps: int
    folder: Path


@dataclass(frozen=True)
class Setup(TrainerSetup):
    """A run that is ready to train.

    Attributes:
        start: the point where training begins: step 0 or a checkpoint.
        compiled: whether the model is compiled.
    """

    corpus: Corpus
    model: GPT
    run_dir: RunDir
    start: Start
    compiled: bool

    def windows(self, device: torch.device, stream: str) -> Windows:
        """The run's batches, or batches of another stream for code that must leave the run's batches alone."""
        config = self.config
        return self.corpus.windows(config.data, config.model.block_size, config.seed, device=device, stream=stream)
