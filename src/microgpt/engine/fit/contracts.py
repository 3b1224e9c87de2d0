"""The contracts of a run's own parts: optimizer, schedule, tokenizer, metrics, protocol, tried once before training."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microgpt.contract import broken, is_own, must_have_shape, tried
from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.config import RunConfig
from microgpt.engine.optim import OptimConfig
from microgpt.engine.schedule import ScheduleConfig
from microgpt.engine.trained.metrics import Metric, ScoredBatch, Totals
from microgpt.engine.trained.protocols import EvalProtocol

B, T, V = 2, 5, 7


def check_parts(config: RunConfig, tokenizer: Tokenizer, ids: Tensor) -> None:
    """Check the user's own parts that the config chooses; shipped parts are not tried.

    Args:
        ids: the training text's indices.

    Raises:
        UsageError: a part breaks its contract; the error names the part and the method.
    """
    if is_own(config.optim):
        check_optimizer(config.optim)
    if is_own(config.optim.schedule):
        check_schedule(config.optim.schedule)
    if is_own(tokenizer):
        check_tokenizer(tokenizer, ids)
    for metric in filter(is_own, Metric.members.values()):
        check_metric(metric)
    protocol = EvalProtocol.named(config.eval.protocol, "eval.protocol")
    if is_own(protocol):
        check_protocol(protocol)


def check_optimizer(config: OptimConfig) -> None:
    """Build the optimizer for two tensors and step once."""
    name = config.name
    matrix, vector = nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(3))
    made = tried(f"{name}.build", config.build, [("blocks.0.mlp.out.weight", matrix), ("norm.weight", vector)])
    if not isinstance(made, torch.optim.Optimizer):
        raise broken(f"{name}.build must return a torch.optim.Optimizer, returns a {type(made).__name__}")
    held = [id(p) for group in made.param_groups for p in group["params"]]
    if sorted(held) != sorted((id(matrix), id(vector))):
        raise broken(f"{name}.build must take every parameter once: {len(held)} of 2 are in its groups")
    matrix.grad, vector.grad = torch.full_like(matrix, 0.1), torch.full_like(vector, 0.1)
    tried(f"{name}'s step", made.step)
    if not all(bool(p.isfinite().all()) for p in (matrix, vector)):
        raise broken(f"{name}'s step makes weights that are not finite")


def check_schedule(config: ScheduleConfig) -> None:
    """Ask for the factor along a run of ten steps."""
    for i in range(11):
        factor = tried(f"{config.name}.shape", config.shape, i / 10)
        if not isinstance(factor, (int, float)) or not math.isfinite(factor) or factor < 0:
            raise broken(f"{config.name}.shape({i / 10:g}) must be a finite number of at least 0, is {factor!r}")


def check_tokenizer(tokenizer: Tokenizer, ids: Tensor) -> None:
    """Decode and encode a piece of the text, and ask for the tokens' lengths."""
    name, size = tokenizer.name, tokenizer.vocab_size
    low, high = int(ids.min()), int(ids.max())
    if not 0 <= low <= high < size:
        raise broken(f"{name}.encode_counted must give indices from 0 to {size - 1}, gives {low} to {high}")
    text = tried(f"{name}.decode", tokenizer.decode, ids[:100].tolist())
    if not isinstance(text, str):
        raise broken(f"{name}.decode must return a str, returns a {type(text).__name__}")
    lengths = tried(f"{name}.token_lengths", tokenizer.token_lengths)
    for what, found in zip(("bytes", "characters"), lengths, strict=True):
        must_have_shape(f"{name}.token_lengths's {what}", np.asarray(found), (size,), "(V,)")
    if tokenizer.from_dict(tokenizer.to_dict()).to_dict() != tokenizer.to_dict():
        raise broken(f"{name}.from_dict must rebuild what {name}.state wrote")


def check_metric(metric: type[Metric]) -> None:
    """Count a batch and ask for the figure."""
    made = tried(metric.name, metric)
    x = torch.zeros(B, T, dtype=torch.int64)
    batch = ScoredBatch(x, x, torch.ones(B, T, dtype=torch.bool), torch.zeros(B, T, V), torch.ones(B, T))
    tried(f"{metric.name}.update", made.update, batch)
    figure = tried(f"{metric.name}.result", made.result, Totals(1.0, B * T, 1.0, 1.0))
    if not isinstance(figure, (int, float, Tensor)) or (isinstance(figure, Tensor) and figure.numel() != 1):
        raise broken(f"{metric.name}.result must return a number, returns a {type(figure).__name__}")


def check_protocol(protocol: type[EvalProtocol]) -> None:
    """Ask for the windows of a text of 60 tokens."""
    name = protocol.name
    made = tried(name, protocol)
    windows = tried(f"{name}.windows", lambda: list(made.windows(torch.arange(60) % V, T, B, torch.device("cpu"))))
    if not windows:
        raise broken(f"{name}.windows must yield windows, yields none for 60 tokens")
    for window in windows:
        _check_window(name, window)


def _check_window(name: str, window: Any) -> None:
    if not isinstance(window, tuple) or len(window) != 3:
        raise broken(f"{name}.windows must yield x, y and scored, yields a {type(window).__name__}")
    x, y, scored = window
    b, t = x.shape if x.ndim == 2 else (0, 0)
    if not (1 <= b <= B and 1 <= t <= T):
        raise broken(f"{name}.windows must yield x (b, T) with b <= {B} and T <= {T} here, is {tuple(x.shape)}")
    must_have_shape(f"{name}.windows's y", y, (b, t), "(b, T)")
    must_have_shape(f"{name}.windows's scored", scored, (b, t), "(b, T)")
    if scored.dtype != torch.bool:
        raise broken(f"{name}.windows's scored must be bool, is {scored.dtype}")
