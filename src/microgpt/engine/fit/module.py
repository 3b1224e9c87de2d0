"""The LightningModule: one optimizer step of a GPT, exactly.

The learning rate and the dropout masks are set from the step's number alone, so there is no scheduler or generator
state to save. The norm of the gradient is computed once, for clipping, logging and the check that it is finite.
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
from microgpt.engine.fit.loader import Batch
from microgpt.engine.fit.pending import Underway
from microgpt.engine.fit.restore import optimizer_fault, unfit
from microgpt.engine.fit.sharded import ShardedStrategy, is_shared, part_of, shard, unshared, whole
from microgpt.errors import NonFiniteError
from microgpt.model import GPT

OVERFLOWS = 30
"""Overflows of the scaled gradient one after another that no loss scale cures: the scale starts at 2^16."""


class GPTModule(L.LightningModule):
    """A GPT, its optimizer and its schedule."""

    # Lightning calls what can be called: hooks that nobody needs are not there. The gradients of a step go as soon as
    # it has been made, so that nothing is to be zeroed.
    on_before_zero_grad = optimizer_zero_grad = on_before_backward = on_after_backward = None  # type: ignore[assignment]
    on_before_optimizer_step = on_train_batch_end = None  # type: ignore[assignment]

    def __init__(self, model: GPT, config: RunConfig, total_steps: int, compiled: bool) -> None:
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self.uses_dropout = config.model.dropout > 0
        self.peak_lrs: list[float] = []
        self.loss_sum: Tensor | None = None
        self.grad_norm: Tensor | None = None
        self.skipped_steps = 0
        self.average: list[Tensor] = []
        self._scaled = False  # a loss scaler skips steps whose gradient overflows
        self._others_look = False  # other ranks or a loss scaler, at the gradient alone
        self._overflows = 0
        self._looks_late = False
        self._unchecked: tuple[int, Underway] | None = None
        # Only training is compiled: evaluation and samples come in other shapes, each of which would be compiled too.
        self._loss = torch.compile(self.forward, mode=config.trainer.compile_mode) if compiled else self.forward
        self._is_replayed = compiled and config.trainer.compile_mode != "default"

    def __setattr__(self, name: str, value: Any) -> None:
        """As any attribute; a plain one is set without torch's search of the parts of the module, which would take a
        tenth of a millisecond a step: Lightning's name of the current hook alone is set 36 times."""
        if name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.config.optim.build(self.model.named_parameters())
        self.peak_lrs = [group["lr"] for group in optimizer.param_groups]
        # Fused optimizers would leave the gradient scaled until their step, and it is clipped before.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        return optimizer

    def configure_model(self) -> None:
        if isinstance(self.trainer.strategy, ShardedStrategy) and not is_shared(self.model):
            assert self.device_mesh is not None
            shard(self.model, self.device_mesh["data_parallel"])

    def on_fit_start(self) -> None:
        self._scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        self._others_look = self._scaled or self.trainer.world_size > 1
        self._looks_late = self.may_look_late()
        if self.config.trainer.ema_decay:
            start = self.average or [p.detach().clone() for p in self.model.parameters()]
            self.average = [tensor.to(self.device) for tensor in start]

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
            self.loss_sum = None
            if self._is_replayed and self.trainer.accumulate_grad_batches > 1:
                # The next replay of a CUDA graph overwrites the gradients of this one: they need a place of their own.
                for p in self.model.parameters():
                    p.grad = torch.zeros_like(p) if p.requires_grad else None
            factor = self.config.optim.lr_factor(step, self.total_steps)
            for group, peak in zip(self.trainer.optimizers[0].param_groups, self.peak_lrs, strict=True):
                group["lr"] = peak * factor
        if self.uses_dropout:
            torch.manual_seed(key(self.config.seed, f"dropout {batch.micro}", step, self.trainer.global_rank))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean loss of a micro-batch in nats per token; x, y: (b, T)."""
        return self.model.loss(x, y)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self._loss(batch.x, batch.y)
        value = loss.detach().clone() if self._is_replayed else loss.detach()
        self.loss_sum = value if self.loss_sum is None else self.loss_sum + value
        # An infinite loss can have a finite gradient. Where others are to know, the gradient tells: the factor is 1,
        # or NaN for such a loss.
        return loss * (value - value + 1) if self._others_look else loss

    # Lightning asks for it each step, and inspect would find it anew each time.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def step_loss(self) -> float:
        """Mean training loss of the step that just ended on this process, in nats per token."""
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
        self._unchecked = self.trainer.global_step, Underway(self.grad_norm, self.loss_sum)
        if not self._looks_late:
            self.check_gradient()

    def may_look_late(self) -> bool:
        """Whether a step need not wait for its gradient's norm, which takes a GPU longer than to be told its work.

        A step that is not finite is then noticed in the next one, or before anything is logged, evaluated or saved;
        the run ends all the same at the last good one. What is to be skipped must be known before the update.
        """
        return self.device.type == "cuda" and self.config.trainer.on_nonfinite == "stop" and not self._scaled

    def check_gradient(self) -> None:
        """Look at the loss and the gradient of the latest step, if nobody has.

        Raises:
            NonFiniteError: one is not finite, and that ends the run.
        """
        if self._unchecked is None:
            return
        (step, found), self._unchecked = self._unchecked, None
        norm, loss_sum = found.read()
        if math.isfinite(norm) and (self._others_look or math.isfinite(loss_sum)):
            self._overflows = 0
        else:
            self._not_finite(step, loss_sum / self.trainer.accumulate_grad_batches)

    def _not_finite(self, step: int, loss: float) -> None:
        self._overflows += 1
        if self._scaled and math.isfinite(loss) and self._overflows <= OVERFLOWS:
            return  # the scaler skips the step and halves its scale
        if self.config.trainer.on_nonfinite == "stop":
            what = "gradient" if math.isfinite(loss) else "loss"
            raise NonFiniteError(
                f"the {what} is not finite at step {step + 1} (loss {loss:g})",
                "",
                f"step {step} was the last good one and nothing after it is saved: "
                "lower optim.lr, raise optim.warmup_steps, or take trainer.on_nonfinite=skip",
            )
        self.skipped_steps += 1
        if not self._scaled:
            self.trainer.optimizers[0].zero_grad(set_to_none=True)  # without gradients the update changes nothing

    def check_weights(self) -> None:
        """Refuse to save weights that the last update has made infinite or NaN.

        Raises:
            NonFiniteError: the weights are not finite.
        """
        self.check_gradient()
        norms = torch._foreach_norm([p.detach() for p in self.model.parameters()], math.inf)
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
        """Let go of the gradients, and let the averaged weights follow."""
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = None  # used: the next forward pass can have the memory
        self.update_average()

    def update_average(self) -> None:
        """Move the averaged weights towards the current ones, once a step."""
        decay = self.config.trainer.ema_decay
        if decay:
            # A young average follows fast, as its first value is the random initialisation.
            step = self.trainer.global_step
            weight = 1 - min(decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.model.parameters()], weight)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[GPT]:
        """The model as it is evaluated, sampled from and saved: with the averaged weights, when there are such.

        All ranks enter together: shared weights are gathered.

        Raises:
            NonFiniteError: the latest step was not finite.
        """
        self.check_gradient()
        if is_shared(self.model):
            weights = dict(self.model.named_parameters())
            yield unshared(self.model, dict(zip(weights, self.average, strict=True)) if self.average else weights)
            return
        if not self.average:
            yield self.model
            return
        parameters = [p.data for p in self.model.parameters()]
        current = [p.clone() for p in parameters]
        torch._foreach_copy_(parameters, self.average)
        try:
            yield self.model
        finally:
            torch._foreach_copy_(parameters, current)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["microgpt"] = {"skipped_steps": self.skipped_steps, "average": self.average}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the state, whoever wrote it, and take from it what Lightning does not.

        Raises:
            CheckpointError: it is not that of a run with this model and optimizer.
        """
        if fault := self._state_fault(checkpoint):
            raise unfit(fault)
        # Lightning converts later than it loads, and float64 weights would lose half their bits on the way.
        self.trainer.precision_plugin.convert_module(self)
        self.skipped_steps = checkpoint["microgpt"]["skipped_steps"]
        average = checkpoint["microgpt"]["average"]
        self.average = [part_of(*pair) for pair in zip(average, self.model.parameters(), strict=False)]
        # The number of updates is all that Lightning's loops need to know: its other counters start anew, so that a
        # run can be made longer, or go on with other micro-batches.
        progress = self.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        progress.ready = progress.completed = checkpoint["global_step"]

    def _state_fault(self, checkpoint: dict[str, Any]) -> str:
        own, optimizers = checkpoint.get("microgpt"), checkpoint.get("optimizer_states")
        if not isinstance(own, dict) or set(own) != {"skipped_steps", "average"}:
            return "no part of microgpt's own"
        average, skipped = own["average"], own["skipped_steps"]
        shapes = [p.shape for p in self.model.parameters()] if self.config.trainer.ema_decay else []
        if not isinstance(average, list) or [getattr(t, "shape", None) for t in average] != shapes:
            return "an average of other weights"
        if type(skipped) is not int or skipped < 0:
            return "skipped_steps is no number"
        if not isinstance(optimizers, list) or len(optimizers) != 1:
            return "no state of one optimizer"
        return optimizer_fault(optimizers[0], self.config.optim, self.model.named_parameters())
