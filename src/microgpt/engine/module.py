"""The LightningModule: one optimizer step of a GPT, exactly.

The learning rate and the dropout masks are set from the step's number alone, so there is no scheduler or generator
state to save. The norm of the gradient is computed once, for clipping, logging and the check that it is finite.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from microgpt.data.rng import key
from microgpt.engine.config import RunConfig
from microgpt.engine.loader import Batch
from microgpt.errors import NonFiniteError
from microgpt.model import GPT


class GPTModule(L.LightningModule):
    """A GPT, its optimizer and its schedule."""

    def __init__(self, model: GPT, config: RunConfig, total_steps: int, compiled: bool) -> None:
        super().__init__()
        self.model, self.config, self.total_steps = model, config, total_steps
        self.uses_dropout = config.model.dropout > 0
        self.peak_lrs: list[float] = []
        self.loss_sum: Tensor | None = None
        self.grad_norm: Tensor | None = None
        self.skipped_steps = 0
        self.average: list[Tensor] = []
        self._scaled = False  # a loss scaler looks after gradients that are not finite
        # Only training is compiled: evaluation and samples come in other shapes, each of which would be compiled too.
        self._loss = torch.compile(self.forward) if compiled else self.forward

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.config.optim.build(self.model.named_parameters())
        self.peak_lrs = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def on_fit_start(self) -> None:
        self._scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
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
            factor = self.config.optim.lr_factor(step, self.total_steps)
            for group, peak in zip(self.trainer.optimizers[0].param_groups, self.peak_lrs, strict=True):
                group["lr"] = peak * factor
        if self.uses_dropout:
            torch.manual_seed(key(self.config.seed, f"dropout {batch.micro}", step, self.trainer.global_rank))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean loss of a micro-batch in nats per token; x, y: (b, T)."""
        loss: Tensor = self.model(x, targets=y)[1]
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss: Tensor = self._loss(batch.x, batch.y)
        value = loss.detach()
        self.loss_sum = value if self.loss_sum is None else self.loss_sum + value
        return loss

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
        limit = self.config.trainer.gradient_clip_val or math.inf
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        self.grad_norm = torch.nn.utils.clip_grad_norm_(parameters, limit, foreach=True)
        if not self._scaled and not math.isfinite(self.grad_norm):
            self._not_finite(optimizer)

    def _not_finite(self, optimizer: torch.optim.Optimizer) -> None:
        step = self.trainer.global_step
        if self.config.trainer.on_nonfinite == "stop":
            raise NonFiniteError(
                f"the gradient is not finite at step {step + 1} (loss {self.step_loss():g})",
                "",
                f"step {step} was the last good one and nothing after it is saved: "
                "lower optim.lr, raise optim.warmup_steps, or take trainer.on_nonfinite=skip",
            )
        self.skipped_steps += 1
        optimizer.zero_grad(set_to_none=True)  # without gradients the update changes nothing

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
        """The model as it is evaluated, sampled from and saved: with the averaged weights, when there are such."""
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
        self.skipped_steps = checkpoint["microgpt"]["skipped_steps"]
        self.average = checkpoint["microgpt"]["average"]
