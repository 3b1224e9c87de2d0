"""The LightningModule: one exact optimizer step of a GPT.

The learning rate depends only on the step number, the dropout masks on step, micro-batch and rank, so there is no
scheduler or generator state to save. Masks keyed by sample would be the same for every split of the batch; drawn one by
one they cost 7 to 40 % of an eager step, and neither compiled code nor fused attention takes them. Clipping, logging
and the finiteness check share one computation of the gradient norm.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from microgpt.data.rng import key
from microgpt.engine.config import RunConfig
from microgpt.engine.fit import lightning_private
from microgpt.engine.fit.gradient_guard import GradientGuard
from microgpt.engine.fit.loader import Batch
from microgpt.engine.fit.restore import optimizer_fault, unfit
from microgpt.engine.fit.sharded import ShardedStrategy, is_shared, shard, whole
from microgpt.engine.fit.weight_average import WeightAverage
from microgpt.errors import NonFiniteError
from microgpt.model import GPT
from microgpt.model.block import run_block
from microgpt.model.kernels import compiling, hardware
from microgpt.model.kernels.cross_entropy import MOST, most_logits
from microgpt.model.kernels.torch_private import foreach


class GPTModule(L.LightningModule):
    """A GPT, its optimizer and its learning-rate schedule."""

    # Lightning skips a hook set to None, which is faster than calling an empty one. Each update frees the gradients, so
    # there is nothing to zero.
    on_before_zero_grad = optimizer_zero_grad = on_before_backward = on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = on_train_batch_end = None  # type: ignore[assignment]

    def __init__(self, model: GPT, config: RunConfig, total_steps: int, compiled: bool) -> None:
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self.uses_dropout = config.model.dropout > 0
        self.peak_lrs: list[float] = []
        self.loss_sum: Tensor | None = None
        self.grad_norm: Tensor | None = None
        self.is_between_steps = False
        self.most_logits = MOST
        self.guard = GradientGuard(config.trainer.on_nonfinite)
        self.average = WeightAverage(model, config.trainer.ema_decay)
        self.compiled, self._loss, self._run = compiled, self.forward, run_block
        self._is_replayed = compiled and config.trainer.compile_mode != "default"

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a plain attribute without torch's search through the submodules, which costs 0.1 ms a step: Lightning
        sets the name of the current hook 36 times."""
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.config.optim.build(self.model.named_parameters())
        self.peak_lrs = [group["lr"] for group in optimizer.param_groups]
        lightning_private.unscale_before_clipping(optimizer)
        return optimizer

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ShardedStrategy) and not is_shared(self.model):
            assert self.device_mesh is not None
            shard(self.model, self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        self.guard.start(
            has_scaler=self.has_scaler(), world_size=self.trainer.world_size, looks_late=self.may_look_late(),
            n_micro=self.trainer.accumulate_grad_batches,
        )  # fmt: skip
        self.average.start(self.device)
        self.most_logits = most_logits(self.device)
        if self.compiled:
            # Compile only training: evaluation and sampling use other shapes, and each would need a compilation.
            torch.compiler.reset()  # else an earlier run's sizes make those of this run dynamic, which is slower
            if hardware.of(self.device.type).compiles_layers(self.model.config.n_embd):
                self._run = compiling.compiled(run_block, mode=self.config.trainer.compile_mode)
            else:
                self._loss = compiling.compiled(self.forward, mode=self.config.trainer.compile_mode)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        if batch.x.device == device:
            return batch
        x, y = batch.x.to(device, non_blocking=True), batch.y.to(device, non_blocking=True)
        return batch._replace(x=x, y=y)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        step = self.trainer.global_step
        if batch.step != step:
            raise RuntimeError(f"the batch of step {batch.step} came at step {step}")
        if batch.micro == 0:
            self.loss_sum, self.is_between_steps = None, False
            if self._is_replayed and self.trainer.accumulate_grad_batches > 1:
                # The next replay of a CUDA graph overwrites this one's gradients: store them elsewhere.
                for p in self.model.parameters():
                    p.grad = torch.zeros_like(p) if p.requires_grad else None
            factor = self.config.optim.lr_factor(step, self.total_steps)
            for group, peak in zip(self.trainer.optimizers[0].param_groups, self.peak_lrs, strict=True):
                group["lr"] = peak * factor
        if self.uses_dropout:
            torch.manual_seed(key(self.config.seed, f"dropout {batch.micro}", step, self.trainer.global_rank))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of a micro-batch in nats per token; x, y: (b, T)."""
        return self.model.loss(x, y, self.most_logits, self._run)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self._loss(batch.x, batch.y)
        if batch.weight is not None:
            loss = loss * batch.weight
        value = loss.detach().clone() if self._is_replayed else loss.detach()
        self.loss_sum = value if self.loss_sum is None else self.loss_sum + value
        # An infinite loss can have a finite gradient. The factor turns it into NaN, and is 1 for a finite loss.
        return loss * (value - value + 1) if self.guard.gradient_tells else loss

    # Lightning inspects the signature each step; this caches it.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def step_loss(self) -> float:
        """This process's mean training loss of the step that just ended, in nats per token."""
        assert self.loss_sum is not None
        return float(self.loss_sum) / self.trainer.accumulate_grad_batches

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        self.check_gradient()
        limit = self.config.trainer.gradient_clip_val or math.inf
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.grad_norm = whole(torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True))
        assert self.loss_sum is not None
        if self.guard.add(self.trainer.global_step, self.grad_norm, self.loss_sum):
            optimizer.zero_grad(set_to_none=True)  # without gradients the update changes nothing

    def has_scaler(self) -> bool:
        """Whether a loss scaler scales the gradient and skips steps whose gradient overflows, as in 16-mixed."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def may_look_late(self) -> bool:
        """Whether a step may go on before its gradient norm arrives, so that the GPU always has work queued.

        The next step then detects a step that is not finite, or a check does before anything is logged, evaluated or
        saved; the run still ends at the last good step. Skipping an update needs the norm before the update.
        """
        return self.device.type == "cuda" and self.config.trainer.on_nonfinite == "stop" and not self.has_scaler()

    def check_gradient(self) -> None:
        """Check the latest step's loss and gradient, unless they have been checked.

        Raises:
            NonFiniteError: one is not finite and the run must stop.
        """
        if self.guard.check():
            self.trainer.optimizers[0].zero_grad(set_to_none=True)

    @property
    def skipped_steps(self) -> int:
        """The number of updates skipped because the loss or the gradient was not finite."""
        return self.guard.skipped_steps

    def check_weights(self) -> None:
        """Refuse to save weights that the last update made infinite or NaN.

        Raises:
            NonFiniteError: the weights are not finite.
        """
        self.check_gradient()
        norms = foreach("norm")([p.detach() for p in self.model.parameters()], math.inf)
        worst = torch.stack([whole(norm) for norm in norms])
        if not bool(worst.isfinite().all()):
            step = self.trainer.global_step
            raise NonFiniteError(
                f"the weights are not finite after step {step}, and are not saved",
                "",
                "lower optim.lr or raise optim.warmup_steps, and start again: earlier checkpoints are untouched",
            )

    def optimizer_step(  # type: ignore[override]
        self,
        epoch: int,
        batch_idx: int,
        optimizer: torch.optim.Optimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.after_update(optimizer)

    def after_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Free the gradients and update the averaged weights."""
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None  # frees the memory for the next forward pass
        self.average.update(self.trainer.global_step)
        self.is_between_steps = True

    @contextlib.contextmanager
    def averaged(self) -> Iterator[GPT]:
        """The model to evaluate, sample from and save: with the averaged weights, if any.

        All ranks must enter together, to gather sharded weights.

        Raises:
            NonFiniteError: the latest step was not finite.
        """
        self.check_gradient()
        with self.average.applied() as model:
            yield model

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["microgpt"] = {"skipped_steps": self.skipped_steps, "average": self.average.tensors}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the untrusted state and restore the entries that Lightning does not.

        Raises:
            CheckpointError: the state does not fit this model and optimizer.
        """
        if fault := self._state_fault(checkpoint):
            raise unfit(fault)
        # Lightning converts after loading, so float64 weights would first be cut to half their bits.
        self.trainer.precision_plugin.convert_module(self)
        self.guard.skipped_steps = checkpoint["microgpt"]["skipped_steps"]
        self.average.load(checkpoint["microgpt"]["average"])
        lightning_private.set_update_count(self.trainer, checkpoint["global_step"])

    def _state_fault(self, checkpoint: dict[str, Any]) -> str:
        own, optimizers = checkpoint.get("microgpt"), checkpoint.get("optimizer_states")
        if not isinstance(own, dict) or set(own) != {"skipped_steps", "average"}:
            return "no part of microgpt's own"
        skipped = own["skipped_steps"]
        if fault := self.average.fault(own["average"]):
            return fault
        if type(skipped) is not int or skipped < 0:
            return "skipped_steps is no number"
        if not isinstance(optimizers, list) or len(optimizers) != 1:
            return "no state of one optimizer"
        return optimizer_fault(optimizers[0], self.config.optim, self.model.named_parameters())
