"""The Lightning Trainer of a run, and how several devices share it."""

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy, Strategy

from microgpt.config import ConfigError, Fault
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.callbacks.save import FolderCheckpointIO
from microgpt.engine.fit.loop import StepLoop
from microgpt.engine.fit.runlog import RunLog
from microgpt.engine.fit.sharded import ShardedStrategy
from microgpt.engine.machine import device as machine
from microgpt.engine.process import cluster
from microgpt.engine.process.cluster import Place


@dataclass(frozen=True)
class World:
    """The processes that share a run: this one's place, and how many there are to be."""

    place: Place
    devices: int
    "On each node."
    num_nodes: int

    @property
    def size(self) -> int:
        return self.devices * self.num_nodes

    @property
    def is_to_be_started(self) -> bool:
        """Whether nobody has started the ranks yet, so that we do."""
        return self.size > 1 and not self.place.starter


def find_world(config: RunConfig, accelerator: str) -> World:
    """The world of a run, checked.

    Raises:
        MachineError: there are not so many devices.
        UsageError: another number of processes was started.
        ConfigError: the global batch cannot be shared evenly, or a part is made for one device.
    """
    knobs, place = config.trainer, cluster.place()
    world = World(place, machine.resolve_devices(knobs.devices, accelerator, place.started), knobs.num_nodes)
    cluster.check_world(place, world.devices, world.num_nodes)
    problem = config.world_problem(world.size)
    if problem is None and world.size > 1 and knobs.find_lr:
        fix = "find it with trainer.devices=1, then give optim.lr"
        problem = Fault("trainer.find_lr", f"it searches on one device, not on {world.size}", fix)
    if problem is None and world.size > 1 and knobs.strategy == "fsdp":
        problem = sharding_problem(config)
    if problem is not None:
        raise ConfigError([problem])
    return world


def sharding_problem(config: RunConfig) -> Fault | None:
    """What of a run cannot be had with sharded weights, if anything."""
    if config.trainer.precision in ("16-mixed", "64-true"):
        fix = "take bf16-mixed, 32-true, or trainer.strategy=ddp"
        return Fault("trainer.precision", f"{config.trainer.precision} is not to be had with fsdp", fix)
    if config.lora.rank:
        return Fault("lora.rank", "low-rank changes are not to be had with fsdp", "take trainer.strategy=ddp")
    return None


class NoProfiler(Profiler):
    """Lightning asks for a context some fifty times a step; this one costs nothing."""

    _nothing = contextlib.nullcontext()

    def start(self, action_name: str) -> None:
        """Nothing."""

    def stop(self, action_name: str) -> None:
        """Nothing."""

    def profile(self, action_name: str) -> contextlib.nullcontext[None]:  # type: ignore[override]
        return self._nothing


class Ranks(ClusterEnvironment):
    """Tells Lightning the place of this process, whoever started it; Lightning itself starts none.

    Lightning's own classes do not notice a job named `bash`, and start ranks by running the command again, which
    under `-m` is the whole sweep.
    """

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.place.address

    @property
    def main_port(self) -> int:
        return self.place.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.place.world_size

    def set_world_size(self, size: int) -> None:
        """Nothing: it is what it is."""

    def global_rank(self) -> int:
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        """Nothing: it is what it is."""

    def local_rank(self) -> int:
        return self.place.local_rank

    def node_rank(self) -> int:
        return self.place.node


def build_trainer(
    config: RunConfig,
    world: World,
    steps: int,
    accelerator: str,
    precision: str,
    folder: Path,
    runlog: RunLog | Literal[False],
    checkpoint_io: FolderCheckpointIO | None,
    callbacks: Sequence[L.Callback],
) -> L.Trainer:
    """A Trainer that leaves processes, data order, evaluation, saving and signals to this package."""
    knobs = config.trainer
    plugins: list[Any] = [*([checkpoint_io] if checkpoint_io else []), Ranks(world.place)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=world.devices,
            num_nodes=knobs.num_nodes,
            strategy=build_strategy(knobs.strategy, world.size),
            precision=precision,  # type: ignore[arg-type]
            max_steps=steps,
            max_epochs=1,
            accumulate_grad_batches=micro_batches(config, world.size),
            deterministic=knobs.deterministic,
            plugins=plugins,
            profiler=NoProfiler(),
            logger=runlog,
            callbacks=list(callbacks),
            default_root_dir=folder,
            log_every_n_steps=knobs.log_every_n_steps,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    trainer.fit_loop.epoch_loop = StepLoop(trainer, max_steps=steps)
    return trainer


def build_strategy(knob: str, world_size: int) -> Strategy | str:
    """Lightning's strategy for `trainer.strategy`; with one device there is nothing to share."""
    if world_size == 1:
        return "auto"
    if knob == "fsdp":
        return ShardedStrategy(world_size)
    return DDPStrategy(gradient_as_bucket_view=True)


def micro_batches(config: RunConfig, world_size: int) -> int:
    """Forward passes per optimizer step and rank; that the global batch can be shared evenly was checked."""
    mine = config.data.batch_size // world_size
    return mine // (config.trainer.micro_batch_size or mine)


def leave_group() -> None:
    """Take leave of the other ranks, when there are such."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
