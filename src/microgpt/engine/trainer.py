"""The Lightning Trainer of a run."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from microgpt.engine import machine
from microgpt.engine.callbacks.base import StepCallback
from microgpt.engine.callbacks.save import FolderCheckpointIO
from microgpt.engine.config import RunConfig
from microgpt.engine.runlog import RunLog
from microgpt.errors import MachineError


def build_trainer(
    config: RunConfig,
    steps: int,
    accelerator: str,
    precision: str,
    folder: Path,
    runlog: RunLog,
    checkpoint_io: FolderCheckpointIO,
    callbacks: list[StepCallback],
) -> L.Trainer:
    """A Trainer that leaves data order, evaluation, saving and signals to this package."""
    knobs = config.trainer
    devices = machine.resolve_devices(knobs.devices, accelerator)
    plugins: list[Any] = [checkpoint_io]
    if SLURMEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=knobs.num_nodes,
        strategy=knobs.strategy,
        precision=precision,  # type: ignore[arg-type]
        max_steps=steps,
        max_epochs=1,
        accumulate_grad_batches=micro_batches(config, devices * knobs.num_nodes),
        deterministic=knobs.deterministic,
        plugins=plugins,
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
    if trainer.world_size != devices * knobs.num_nodes:
        raise MachineError(
            f"{trainer.world_size} processes run, but trainer.num_nodes={knobs.num_nodes} x trainer.devices={devices}",
            "the cluster's environment",
            "start as many tasks as num_nodes x devices",
        )
    return trainer


def micro_batches(config: RunConfig, world_size: int) -> int:
    """Forward passes per optimizer step and process.

    Raises:
        MachineError: when the global batch cannot be shared evenly by the processes there are.
    """
    problem = config.world_problem(world_size)
    if problem is not None:
        raise MachineError(problem.what, problem.path, problem.fix)
    mine = config.data.batch_size // world_size
    return mine // (config.trainer.micro_batch_size or mine)
