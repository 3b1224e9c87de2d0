"""Build a run's Lightning Trainer."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import DDPStrategy, Strategy

from microgpt.engine.config import RunConfig
from microgpt.engine.fit import lightning_private
from microgpt.engine.fit.callbacks.save import FolderCheckpointIO
from microgpt.engine.fit.loop import StepLoop
from microgpt.engine.fit.runlog import RunLog
from microgpt.engine.fit.setup import TrainerSetup
from microgpt.engine.fit.sharded import ShardedStrategy
from microgpt.engine.process.cluster import Rank


class NoProfiler(Profiler):
    """A profiler without overhead: Lightning enters its context about fifty times a step."""

    _nothing = contextlib.nullcontext()

    def start(self, action_name: str) -> None:
        """Do nothing."""

    def stop(self, action_name: str) -> None:
        """Do nothing."""

    def profile(self, action_name: str) -> contextlib.nullcontext[None]:  # type: ignore[override]
        return self._nothing


class StartedRanks(ClusterEnvironment):
    """Tell Lightning this process's rank and world size, whoever started it; Lightning starts no process.

    Lightning's own classes mistake a job named `bash` for an interactive shell, and start ranks by repeating the
    command, which under `-m` is the whole sweep.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self.rank.address

    @property
    def main_port(self) -> int:
        return self.rank.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.rank.world_size

    def set_world_size(self, size: int) -> None:
        """Do nothing: the environment fixes it."""

    def global_rank(self) -> int:
        return self.rank.global_rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the environment fixes it."""

    def local_rank(self) -> int:
        return self.rank.local_rank

    def node_rank(self) -> int:
        return self.rank.node


def build_trainer(
    setup: TrainerSetup,
    runlog: RunLog | Literal[False],
    checkpoint_io: FolderCheckpointIO | None,
    callbacks: Sequence[L.Callback],
) -> L.Trainer:
    """Build a Trainer that leaves processes, data order, evaluation, saving and signals to this package."""
    knobs, world = setup.config.trainer, setup.world
    plugins: list[Any] = [*([checkpoint_io] if checkpoint_io else []), StartedRanks(world.rank)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        trainer = L.Trainer(
            accelerator=setup.accelerator,
            devices=world.devices,
            num_nodes=knobs.num_nodes,
            strategy=build_strategy(knobs.strategy, world.size),
            precision=setup.precision,  # type: ignore[arg-type]
            max_steps=setup.steps,
            max_epochs=1,
            accumulate_grad_batches=micro_batches(setup.config, world.size),
            deterministic=deterministic(knobs.deterministic),
            plugins=plugins,
            profiler=NoProfiler(),
            logger=runlog,
            callbacks=list(callbacks),
            default_root_dir=setup.folder,
            log_every_n_steps=knobs.log_every_n_steps,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    trainer.fit_loop.epoch_loop = StepLoop(trainer, max_steps=setup.steps)
    lightning_private.check(trainer)
    return trainer


def build_strategy(knob: str, world_size: int) -> Strategy | str:
    """Lightning's strategy for `trainer.strategy`; on one device, Lightning chooses."""
    if world_size == 1:
        return "auto"
    if knob == "fsdp":
        return ShardedStrategy(world_size)
    return DDPStrategy(gradient_as_bucket_view=True)


def deterministic(knob: bool) -> bool | None:
    """`trainer.deterministic` for Lightning: None where nothing is to change, because torch imports its compiler to set
    it."""
    return knob if knob or torch.are_deterministic_algorithms_enabled() else None


def micro_batches(config: RunConfig, world_size: int) -> int:
    """Forward passes per optimizer step and rank, for a global batch that divides evenly."""
    mine = config.data.batch_size // world_size
    return mine // (config.trainer.micro_batch_size or mine)


def leave_group() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
