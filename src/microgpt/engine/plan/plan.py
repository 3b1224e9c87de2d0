"""Estimate parameters, FLOPs, memory and time before training. Writes nothing."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from microgpt.data.baselines import MOST
from microgpt.data.corpus import Corpus
from microgpt.engine.config import RunConfig
from microgpt.engine.fit.finetune import starting_model
from microgpt.engine.machine import device as machine
from microgpt.engine.plan.estimate import Estimate, estimate
from microgpt.engine.plan.length import will_compile
from microgpt.engine.plan.trial import Trial
from microgpt.engine.process.waiting import Load, busy_text
from microgpt.engine.trained.evaluate import windows_at_once, yardsticks
from microgpt.engine.trained.protocols import EvalProtocol
from microgpt.model.kernels import hardware
from microgpt.text import mib, seconds_text, step_text

SAVE_SPEED = 4e8
"""Assumed bytes per second for writing, checking and syncing a checkpoint."""


@dataclass(frozen=True)
class Plan:
    """A run's cost, in seconds and bytes. `str(plan)` is the table that `microgpt-train plan=true` prints."""

    config: RunConfig
    steps: int
    params: int
    non_embedding: int
    flops_per_token: int
    passes: float
    "Passes over the training text."
    accelerator: str
    precision: str
    compiled: bool
    devices: int
    peak_flops: float
    "Peak FLOP/s of all devices together."
    estimate: Estimate
    start_seconds: float
    "Time from the command to the first step."
    train_seconds: float
    other_seconds: float
    "Time for evaluations, samples, saves and the end of the run."
    others: float | None = None
    "Cores kept busy by other processes around the trial; None if unknown."

    @property
    def tokens(self) -> int:
        """Training tokens over all steps."""
        return self.steps * self.config.data.batch_size * self.config.model.block_size

    @property
    def seconds(self) -> float:
        """Time from the command to its end."""
        return self.start_seconds + self.train_seconds + self.other_seconds

    def __str__(self) -> str:
        rows = [row for row in self._rows() if row[1]]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)

    def _rows(self) -> Iterator[tuple[str, str]]:
        config, e = self.config, self.estimate
        yield "parameters", f"{self.params:,} ({self.non_embedding:,} outside the embeddings)"
        yield "steps", f"{self.steps:,} of {config.data.batch_size} x {config.model.block_size} tokens"
        yield "tokens", f"{self.tokens:,}, {self.passes:.1f} times the training text"
        yield "arithmetic", f"{self.flops_per_token:,} FLOPs a token, {self.flops_per_token * self.tokens:.3g} in all"
        yield "tensors", self._tensors()
        yield "memory", self._memory()
        yield "time", f"about {seconds_text(self.seconds)}, if the machine does nothing else"
        yield "  to start", seconds_text(self.start_seconds)
        step = self.train_seconds / self.steps
        speed = self.tokens / self.train_seconds
        mfu = speed * self.flops_per_token / self.peak_flops
        compiled = ", compiled" if self.compiled else ""
        yield (
            "  to train",
            (
                f"{seconds_text(self.train_seconds)}: {step_text(step)} a step, {speed:,.0f} tokens/s, "
                f"{mfu:.0%} of {self.peak_flops / 1e12:.2f} TFLOP/s ({self.accelerator}, {self.precision}{compiled})"
            ),
        )
        yield "  beside it", f"{seconds_text(self.other_seconds)}: evaluation, samples, saving" if e.pace else ""
        yield "measured", self._measured()
        busy = busy_text(self.others)
        yield "warning", f"{busy}: too many to predict from, so the times above are too long" if busy else ""

    def _tensors(self) -> str:
        found = self.estimate.tensors
        if found is None:
            return "not computed: a part of the model asks for values, not sizes alone"
        rest = found.peak - found.weights - found.optimizer
        eager = ", without compiling" if self.compiled else ""
        return (
            f"{mib(found.peak)} at the peak{self._each()}{eager}: weights {mib(found.weights)}, "
            f"optimizer {mib(found.optimizer)}, gradients and activations {mib(rest)}"
        )

    def _memory(self) -> str:
        e = self.estimate
        if e.growth is None:
            return "more than the tensors: a step was not tried"
        if self.accelerator != "cpu":
            return f"{mib(e.growth)} at the peak, as the device's allocator counts{self._each()}"
        return (
            f"{mib(e.held + e.growth)} for the process at its peak{self._each()}: "
            f"{mib(e.held)} before the model is made, and {mib(e.growth)}"
        )

    def _measured(self) -> str:
        tried = self.estimate.tried
        if not tried:
            share = hardware.of(self.accelerator).share_of_peak
            return f"nothing: a step is too large to try here; the time assumes {share:.0%} of the peak"
        share = self.config.data.batch_size // self.devices
        alone = ", on one device, without what the devices send one another" if self.devices > 1 else ""
        if tried == (share,):
            return f"steps on random tokens{alone}"
        return f"steps of {' and '.join(map(str, tried))} sequences on random tokens, extrapolated to {share}{alone}"

    def _each(self) -> str:
        return f", on each of {self.devices} devices" if self.devices > 1 else ""


def make_plan(
    config: RunConfig, corpus: Corpus, steps: int, devices: int, accelerator: str, began: float | None
) -> Plan:
    """Estimate a run's cost.

    Args:
        devices: the number of devices on all nodes.
        began: `time.perf_counter()` when the command began; None means now.
    """
    began, load = time.perf_counter() if began is None else began, Load()
    vocab_size = corpus.tokenizer.vocab_size
    with torch.device("meta"):
        model = starting_model(config, vocab_size, None)
    n, flops = model.num_params(), model.flops_per_token()
    precision = machine.resolve_precision(config.trainer.precision, accelerator)
    peak = machine.peak_flops(accelerator, machine.autocast_dtype(precision))
    compiled = will_compile(config.trainer.compile, config, steps, flops, accelerator, precision)
    before = time.perf_counter() - began
    share = config.data.batch_size // devices
    micro = min(share, config.trainer.micro_batch_size or share)
    scored = scored_at_once(config, vocab_size, len(corpus.val))
    step = Trial(config, vocab_size, accelerator, precision, compiled, share, micro, scored)
    others = [load.others()]
    found = estimate(step, flops, peak)
    others += [Load().others()]  # not during the steps: compiling starts processes of its own
    if config.trainer.strategy == "fsdp" and devices > 1:
        found = found.sharded(devices)
    start, train, other = before, found.step * steps, 0.0
    if found.pace is not None:
        start, train = before + found.pace.setup, found.pace.first + found.step * (steps - 1)
        other = _beside(config, corpus, steps, found)
    passes = steps * config.data.batch_size * config.model.block_size / max(1, len(corpus.train))
    return Plan(
        config, steps, n, model.num_params(non_embedding=True), flops, passes, accelerator, precision, compiled,
        devices, peak * devices, found, start, train, other, mean_of_known(others),
    )  # fmt: skip


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def scored_at_once(config: RunConfig, vocab_size: int, val_tokens: int) -> int:
    """Windows per evaluation batch for `val_tokens` tokens of text; 0 if the text is too short to score."""
    T = config.model.block_size
    return min(windows_at_once(config.eval.batch_size, T, vocab_size), max(0, math.ceil((val_tokens - 1) / T)))


def _beside(config: RunConfig, corpus: Corpus, steps: int, found: Estimate) -> float:
    """Estimate the seconds for evaluations, samples, saves and the end of the run."""
    assert found.pace is not None
    T, val = config.model.block_size, len(corpus.val)
    at_once = windows_at_once(config.eval.batch_size, T, corpus.tokenizer.vocab_size)
    windows = EvalProtocol.named(config.eval.protocol, "eval.protocol")().count_windows(val, T, at_once)
    evaluations = times(steps, config.eval.every_n_steps) if val > 1 else 0
    rounds = times(steps, config.sample.every_n_steps) if config.sample.every_n_steps else 0
    tokens = (1 + rounds * len(config.sample.prompts)) * config.sample.max_new_tokens
    state = found.tensors.weights + found.tensors.optimizer if found.tensors is not None else 0
    saves = times(steps, config.checkpoint.every_n_steps) + evaluations  # each evaluation may be the best
    seconds = evaluations * windows * found.pace.window + tokens * found.pace.token + saves * state / SAVE_SPEED
    return seconds + (_counting_seconds(corpus) if val > 1 else 0.0)


def _counting_seconds(corpus: Corpus, sample: int = 100_000) -> float:
    """Estimate the seconds for the baselines by timing them on part of the text."""
    start = time.perf_counter()
    train, val = corpus.train[-sample:], corpus.val[:sample]
    yardsticks(train, val, corpus.tokenizer.vocab_size)
    scale = (min(len(corpus.train), MOST) + len(corpus.val)) / (len(train) + len(val))
    return (time.perf_counter() - start) * scale


def times(steps: int, every: int) -> int:
    """Count how often something happens every `every` steps and at the end."""
    return math.ceil(steps / every) if every else 1
