"""Find what a run needs on this machine, and set up what is trained. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from microgpt.data.corpus import Corpus, prepare
from microgpt.data.rng import key
from microgpt.engine.addons import require_packages
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.checks import check_uses
from microgpt.engine.fit.contracts import check_parts
from microgpt.engine.fit.finetune import Pretrained, adopt, starting_model
from microgpt.engine.fit.lr_search import with_lr
from microgpt.engine.fit.setup import Setup
from microgpt.engine.fit.world import World, find_world
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.least_memory import require_memory
from microgpt.engine.plan.length import total_steps, will_compile
from microgpt.engine.resume import Start
from microgpt.engine.store.run_folder import RunDir


@dataclass(frozen=True)
class Found:
    """The resources of a run on this machine, found before writing anything.

    Attributes:
        asked_for: the configuration as composed; in `config`, the architecture of `model.pretrained` wins.
        accelerator: the torch device type to compute on.
        steps: optimizer steps of the whole run.
    """

    asked_for: RunConfig
    config: RunConfig
    accelerator: str
    world: World
    corpus: Corpus
    pretrained: Pretrained | None
    steps: int


def find(config: RunConfig, arguments: Sequence[str] = ()) -> Found:
    """Find a run's devices, text and pretrained model, and check that they fit together.

    Args:
        arguments: the command line, whose knobs outrank those of a pretrained model where both are possible.

    Raises:
        MachineError: the machine lacks a device or a precision.
        DataError: the text cannot be used.
        CheckpointError: the pretrained model cannot be used.
        ConfigError: the devices cannot share the batch.
    """
    require_memory(config)
    accelerator = machine.resolve_accelerator(config.trainer.accelerator)
    world = find_world(config, accelerator)
    machine.resolve_precision(config.trainer.precision, accelerator)
    for node, parts in (("logger", config.logger), ("callbacks", config.callbacks)):
        for name, part in parts.items():
            require_packages(f"{node}.{name}", part)
    asked_for = config
    config, pretrained = adopt(config, arguments)
    corpus = prepare(config.data, pretrained.tokenizer if pretrained else None)
    check_parts(config, corpus.tokenizer, corpus.train)
    check_uses(config, corpus)
    windows = corpus.windows(config.data, config.model.block_size, config.seed)
    steps = total_steps(config, len(windows))
    return Found(asked_for, config, accelerator, world, corpus, pretrained, steps)


def set_up(found: Found, run_dir: RunDir, start: Start) -> Setup:
    """Make the starting model; on resume, take a found learning rate and `auto` knobs from the checkpoint."""
    config, corpus, steps = found.config, found.corpus, found.steps
    if config.trainer.find_lr and start.manifest is not None:
        config = with_lr(config, start.manifest.get("lr"))
    knobs, accelerator = config.trainer, found.accelerator
    precision = machine.resolve_precision(start.recorded("precision", knobs.precision), accelerator)
    torch.manual_seed(key(config.seed, "init", 0))
    model = starting_model(config, corpus.tokenizer.vocab_size, found.pretrained)
    compile_knob = start.recorded("compiled", knobs.compile)
    compiled = will_compile(compile_knob, config, steps, model.flops_per_token(), accelerator, precision)
    return Setup(
        config, accelerator, precision, found.world, steps, run_dir.path, corpus, model, run_dir, start, compiled
    )
