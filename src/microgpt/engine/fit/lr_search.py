"""Learning-rate search (Smith, https://arxiv.org/abs/1506.01186): train a copy while raising the rate, and find where
the loss falls fastest. The search draws batches from a separate stream and leaves the model unchanged.
"""

import copy
import math
from dataclasses import dataclass

import torch

from microgpt.data.windows import Windows
from microgpt.engine.config import RunConfig
from microgpt.model import GPT


@dataclass(frozen=True)
class Search:
    """The rates tried, the smoothed loss at each, and the chosen rate."""

    lrs: list[float]
    losses: list[float]
    chosen: float


def find_lr(
    model: GPT, windows: Windows, config: RunConfig, steps: int = 100, low: float = 1e-6, high: float = 1.0
) -> Search:
    """Raise the learning rate from `low` to `high` in `steps` updates, and choose where the loss falls fastest.

    Args:
        windows: training batches, from a stream other than the run's.
    """
    trial = copy.deepcopy(model).to(windows.device).train()
    optimizer = config.optim.build(trial.named_parameters())
    ratios = [group["lr"] / config.optim.lr for group in optimizer.param_groups]
    lrs: list[float] = []
    losses: list[float] = []
    smooth = 0.0
    for step in range(steps):
        lr = low * (high / low) ** (step / (steps - 1))
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = lr * ratio
        _, loss = trial(*windows.batch(step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trial.parameters(), config.trainer.gradient_clip_val or math.inf)
        optimizer.step()
        optimizer.zero_grad()
        smooth = 0.9 * smooth + 0.1 * float(loss.detach())
        lrs.append(lr)
        losses.append(smooth / (1 - 0.9 ** (step + 1)))
        if not math.isfinite(losses[-1]) or losses[-1] > 2 * min(losses):
            break
    return Search(lrs, losses, steepest(lrs, losses, config.optim.lr))


def steepest(lrs: list[float], losses: list[float], fallback: float) -> float:
    """The rate at which the loss falls fastest on a log scale of the rate, up to the lowest loss."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) < 5:
        return fallback
    lowest = finite.index(min(finite))
    slopes = [finite[i + 1] - finite[i - 1] for i in range(1, lowest)]
    return lrs[1 + slopes.index(min(slopes))] if slopes else fallback


def with_lr(config: RunConfig, lr: float | None) -> RunConfig:
    """The config with the learning rate that a search found, if any."""
    values = config.to_dict()
    values["optim"]["lr"] = config.optim.lr if lr is None else lr
    return RunConfig.from_dict(values)
