"""What a run will cost, before it is started: parameters, arithmetic, memory, time. Needs torch alone."""

import math
from dataclasses import dataclass

import torch

from microgpt.data.corpus import Corpus
from microgpt.engine import machine
from microgpt.engine.config import RunConfig
from microgpt.model import GPT


@dataclass(frozen=True)
class Plan:
    """`str()` of it is the table that `microgpt-train plan=true` prints."""

    config: RunConfig
    corpus: Corpus
    steps: int
    accelerator: str

    def __str__(self) -> str:
        config = self.config
        vocab_size = self.corpus.tokenizer.vocab_size
        with torch.device("meta"):
            model = GPT(config.model, vocab_size)
        n, flops = model.num_params(), model.flops_per_token()
        precision = machine.resolve_precision(config.trainer.precision, self.accelerator)
        dtype = torch.float32 if precision.startswith(("32", "64")) else torch.bfloat16
        peak = machine.peak_flops(self.accelerator, dtype) * config.world_size_hint()
        tokens = self.steps * config.data.batch_size * config.model.block_size
        rows = [
            ("parameters", f"{n:,}, of them {model.num_params(non_embedding=True):,} outside embeddings"),
            ("steps", f"{self.steps:,} of {config.data.batch_size} x {config.model.block_size} tokens"),
            ("tokens", f"{tokens:,}, {tokens / max(1, len(self.corpus.train)):.1f} times the training text"),
            ("arithmetic", f"{flops:,} FLOPs a token, {flops * tokens:.3g} in all"),
            ("memory", f"{self.memory(model, vocab_size) / 2**20:,.0f} MiB for weights, optimizer and activations"),
            ("time", f"about {seconds_text(3 * flops * tokens / peak)} at a third of {peak / 1e12:.2f} TFLOP/s "
                     f"({self.accelerator}, {precision})"),
        ]  # fmt: skip
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def memory(self, model: GPT, vocab_size: int) -> int:
        """Bytes: float32 weights, gradients and two moments, and the activations that one backward pass needs."""
        config = self.config.model
        batch = self.config.trainer.micro_batch_size or self.config.data.batch_size // self.config.world_size_hint()
        tokens = batch * config.block_size
        width = (
            2 if machine.resolve_precision(self.config.trainer.precision, self.accelerator)[:2] in ("bf", "16") else 4
        )
        per_layer = config.n_embd * 10 + config.hidden * 3 + 2 * config.n_head * config.block_size
        return model.num_params() * 16 + tokens * (config.n_layer * per_layer * width + vocab_size * 8)


def seconds_text(seconds: float) -> str:
    """A duration for people: `40 s`, `12 min`, `3.5 h`, `2.1 days`."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def total_steps(config: RunConfig, epoch_windows: int) -> int:
    """Optimizer steps of the whole run; an epoch is as many windows as the text has places to start one."""
    if config.trainer.max_steps is not None:
        return config.trainer.max_steps
    return max(1, math.ceil(config.trainer.max_epochs * epoch_windows / config.data.batch_size))


COMPILE_PAYS_AFTER = 120.0
"""Seconds of expected training from which compiling, which takes some 20 s, is worth it."""


def compiling_pays(config: RunConfig, steps: int, flops_per_token: float, peak: float) -> bool:
    """Whether a run is long enough to be compiled, at a third of each device's peak arithmetic."""
    tokens = steps * config.data.batch_size * config.model.block_size
    return 3 * tokens * flops_per_token / peak / config.world_size_hint() > COMPILE_PAYS_AFTER
