"""Save at step boundaries, and stop at one when a signal arrives."""

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from microgpt.engine.fit.callbacks.base import StepCallback, is_due
from microgpt.engine.fit.callbacks.evaluate import Evaluate
from microgpt.engine.fit.callbacks.metrics import Clock
from microgpt.engine.fit.module import GPTModule
from microgpt.engine.fit.plain_state import require_plain
from microgpt.engine.fit.restore import callbacks_fault, unfit
from microgpt.engine.fit.sharded import whole
from microgpt.engine.process import signals
from microgpt.engine.store import checkpoint
from microgpt.errors import CheckpointError, MachineError, NonFiniteError
from microgpt.model import GPT

log = logging.getLogger("microgpt")

NOT_KEPT = ("state_dict", "loops", "epoch", "pytorch-lightning_version", "lr_schedulers")
"""Entries of Lightning's checkpoints that a run does not need, because it is a function of (seed, step)."""


class FolderCheckpointIO(CheckpointIO):
    """Store Lightning's checkpoints as folders of `microgpt.engine.store.checkpoint`.

    Args:
        model: the model to read weights for; weights of another model are refused before memory is allocated.
        info: facts for the manifest.
        callbacks: callbacks whose saved state must have the form of their current state.
    """

    def __init__(self, model: GPT, info: dict[str, Any], callbacks: Sequence[L.Callback] = ()) -> None:
        self.model, self.info, self.callbacks = model, info, callbacks

    def save_checkpoint(self, checkpoint_: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        state = {key: value for key, value in checkpoint_.items() if key not in NOT_KEPT}
        require_plain(state, sum(tensor.nbytes for tensor in checkpoint_["state_dict"].values()))
        checkpoint.write(Path(path), checkpoint_["state_dict"], state, {"step": state["global_step"], **self.info})

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        wanted = {f"model.{name}": tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}
        weights, state = checkpoint.read(Path(path), wanted)
        step = state.get("global_step") if isinstance(state, dict) else None
        if type(step) is not int or checkpoint.step_name(step) != Path(path).name:
            raise checkpoint.damaged(Path(path), f"{checkpoint.STATE} is not of this step")
        forms = {callback.state_key: form for callback in self.callbacks if (form := callback.state_dict())}
        if fault := callbacks_fault(state.get("callbacks"), forms):
            raise unfit(fault)
        state = {key: value for key, value in state.items() if key not in NOT_KEPT}
        return {**state, "state_dict": weights, "lr_schedulers": [], "pytorch-lightning_version": L.__version__}

    def remove_checkpoint(self, path: Any) -> None:
        checkpoint.remove(Path(path))


class Save(StepCallback):
    """Save every `checkpoint.every_n_steps`, at the end and on a signal; keep the newest and the best checkpoints."""

    def __init__(self, folder: Path, clock: Clock, evaluation: Evaluate) -> None:
        self.folder, self.clock, self.evaluation = folder, clock, evaluation
        self.stopped_by: int | None = None
        self.saved_step = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.saved_step = trainer.global_step if trainer.global_step else -1
        signals.install()  # replaces Lightning's SIGTERM handler, which exits between micro-batches
        if trainer.world_size > 1:
            signals.defer()  # a process that exits alone would leave the others waiting for ever
            if (step := any_rank(trainer, trainer.global_step)) != trainer.global_step:
                what = f"one rank starts at step {step}, another at step {trainer.global_step}"
                raise CheckpointError(what, str(self.folder), "check that all nodes see the same folder")
        states = {callback.state_key: callback.state_dict() for callback in trainer.callbacks}  # type: ignore[attr-defined]
        weights = sum(weight.nbytes for weight in pl_module.parameters())
        require_plain({"callbacks": whole(states)}, weights)  # fail now, not at the first save
        if trainer.is_global_zero:
            checkpoint.clean(self.folder)

    def on_step_end(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        # All ranks agree on one number: a signal outranks early stopping, which outranks a new best.
        wish = 4 * (signals.received() or 0) + 2 * trainer.should_stop + (self.evaluation.best_step == step)
        agreed = any_rank(trainer, wish)
        stop, trainer.should_stop = agreed // 4, agreed > 1
        if agreed or is_due(step, module.config.checkpoint.every_n_steps, module.total_steps):
            self.clock.stop()
            self.save(trainer, module, step)
            self.clock.start()
        if stop:
            self.stopped_by = stop

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save the steps made when work between two steps fails, such as a metric or callback of the user's. One of
        several ranks cannot: the others do not fail with it."""
        keeps = isinstance(exception, Exception) and not isinstance(exception, (MachineError, NonFiniteError))
        if keeps and pl_module.is_between_steps and trainer.world_size == 1:
            with contextlib.suppress(Exception):  # the run's own error is the one to report
                self.save(trainer, pl_module, trainer.global_step)
                log.warning("warning: failed after step %d, which is saved", trainer.global_step)

    def save(self, trainer: L.Trainer, module: GPTModule, step: int) -> None:
        """Write the checkpoint of `step`, unless it exists, and remove the ones no longer needed."""
        if step == self.saved_step:
            return
        module.check_weights()
        trainer.save_checkpoint(self.folder / checkpoint.step_name(step))
        self.saved_step = step
        if trainer.is_global_zero:
            checkpoint.prune(self.folder, module.config.checkpoint.keep, self.evaluation.best_step)


def any_rank(trainer: L.Trainer, number: int) -> int:
    """The maximum of a number over all processes."""
    if trainer.world_size == 1:
        return number
    tensor = torch.tensor(number, device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(tensor, reduce_op="max"))
