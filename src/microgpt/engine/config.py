"""The root of the configuration: all nodes of a run, and the training knobs. Imports neither Lightning nor Hydra."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from microgpt.config import COURSE, MACHINE, START, Config, ConfigError, Count, Fault, NonNegative, Positive, marked
from microgpt.config import flatten as flatten
from microgpt.data.config import DataConfig
from microgpt.engine.addons import CallbackConfig, LoggerConfig, training_callbacks
from microgpt.engine.optim import OptimConfig
from microgpt.engine.optim.adamw import AdamWConfig
from microgpt.engine.store.checkpoint import CheckpointConfig
from microgpt.engine.trained.evaluate import EvalConfig
from microgpt.engine.trained.sample import SampleConfig
from microgpt.inspect.config import InspectConfig
from microgpt.model.config import GPTConfig
from microgpt.model.lora import LoRAConfig
from microgpt.text import brief

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"]


class TrainerConfig(Config):
    """How long and how to train. Knobs marked (machine) affect only the speed and the rounding, not what the model
    learns; with dropout, those that share out the batch also choose which masks are drawn."""

    max_steps: Annotated[Count | None, COURSE] = None
    "Optimizer steps; overrides max_epochs if set."
    max_epochs: Annotated[Positive, COURSE] = 1.0
    "Passes over the training text; by the usual convention, an epoch is len(dataset) windows."
    gradient_clip_val: NonNegative = 1.0
    "Maximum norm of the gradient; 0 disables clipping."
    on_nonfinite: Annotated[Literal["stop", "skip"], COURSE] = "stop"
    "If the loss or gradient is not finite: stop before the update, or skip that update and count it."
    freeze: tuple[str, ...] = ()
    "Names of weights not to train: wte.weight, blocks.0.*, *.attn.*"
    early_stopping_patience: Annotated[Count | None, COURSE] = None
    "Stop after this many evaluations without a better val/loss."
    ema_decay: NonNegative = 0.0
    "Evaluate and save an exponential moving average of the weights with this decay; 0 disables it."
    find_lr: bool = False
    "First search for a learning rate, plot the search and use the rate found."
    log_every_n_steps: Annotated[Count, COURSE] = 10
    "Steps between two rows of metrics.csv and two points in TensorBoard."
    precision: Annotated[Precision, MACHINE] = "auto"
    "(machine) Number format; auto picks the best one that the machine supports."
    float32_matmul_precision: Annotated[Literal["highest", "high", "medium"] | None, MACHINE] = None
    "(machine) torch's setting of this name during training: high uses TF32 on GPUs; null leaves it unchanged."
    accelerator: Annotated[Literal["auto", "cpu", "cuda", "gpu", "mps"], MACHINE] = "auto"
    "(machine) Device type."
    devices: Annotated[Count | Literal["auto"], MACHINE] = 1
    "(machine) Devices on each node; auto uses all."
    num_nodes: Annotated[Count, MACHINE] = 1
    "(machine) Number of nodes."
    rank_timeout: Annotated[Positive, MACHINE] = 300.0
    "(machine) Seconds without a sign of life after which one of several processes is given up."
    strategy: Annotated[Literal["auto", "ddp", "fsdp"], MACHINE] = "auto"
    "(machine) How multiple devices share the work."
    compile: Annotated[bool | Literal["auto"], MACHINE] = "auto"
    "(machine) Use torch.compile; auto compiles if the run is long enough for it to pay off."
    compile_mode: Annotated[Literal["default", "reduce-overhead", "max-autotune"], MACHINE] = "default"
    "(machine) torch.compile's mode: the last two launch a step's GPU kernels as CUDA graphs; max-autotune tries more."
    threads: Annotated[Count | Literal["auto"], MACHINE] = "auto"
    "(machine) CPU threads per process; auto: one per core. Their number affects the last bits of sums."
    deterministic: Annotated[bool, MACHINE] = False
    "(machine) Make compiled and parallel kernels reproducible too, at some cost."
    micro_batch_size: Annotated[Count | None, MACHINE] = None
    "(machine) Windows per forward pass and device, if memory is short. With dropout, each pass draws its own masks."
    progress: Annotated[Literal["auto", "bar", "lines", "none"], COURSE] = "auto"
    "A progress bar, quiet lines, or nothing; auto draws a bar if the output is a terminal."

    def check(self) -> Iterator[Fault]:
        if self.ema_decay >= 1:
            yield Fault("ema_decay", f"{self.ema_decay:g} keeps the first weights for ever", "it must be below 1")


class SweepConfig(Config):
    """How to run a sweep (-m)."""

    detach: bool = False
    "With hydra/launcher=slurm: submit, print how to follow the jobs, and return."


class RunConfig(Config):
    """The complete configuration of a run; its result is a function of these knobs."""

    seed: int = 1337
    "Seed of the weights, the data order, dropout and the samples."
    resume: Annotated[Literal["auto", "never", "must"], START] = "auto"
    "If the folder has a checkpoint: continue it (auto), or refuse to (never); must requires one."
    name: Annotated[str | None, START] = None
    "A name for people, recorded and shown by microgpt-compare."
    tags: Annotated[tuple[str, ...], START] = ()
    "Words to find the run by: microgpt-compare runs --tag baseline."
    notes: Annotated[str | None, START] = None
    "What the run is for, recorded and shown by microgpt-compare."
    plan: Annotated[bool, START] = False
    "Print parameters, FLOPs, memory and expected time, without training."
    html: Annotated[bool, START] = False
    "At the end write page.html into the run folder: the run's figures, and the model itself, in one file."
    imports: Annotated[tuple[str, ...], START] = ()
    "Python files or modules that register your own parts."
    data: DataConfig = DataConfig()
    model: GPTConfig = GPTConfig()
    optim: OptimConfig = AdamWConfig()
    lora: LoRAConfig = LoRAConfig()
    trainer: TrainerConfig = TrainerConfig()
    eval: Annotated[EvalConfig, COURSE] = EvalConfig()
    sample: Annotated[SampleConfig, COURSE] = SampleConfig()
    inspect: Annotated[InspectConfig, COURSE] = InspectConfig()
    checkpoint: Annotated[CheckpointConfig, COURSE] = CheckpointConfig()
    sweep: Annotated[SweepConfig, START] = SweepConfig()
    logger: Annotated[Mapping[str, LoggerConfig], COURSE] = field(default_factory=dict)
    callbacks: Mapping[str, CallbackConfig] = field(default_factory=dict)

    def check(self) -> Iterator[Fault]:
        if not 0 <= self.seed < 2**63:
            yield Fault("seed", f"{self.seed} is out of range", "it must be from 0 to 2^63 - 1")
        if self.data.tokenizer == "pretrained" and self.model.pretrained is None:
            yield Fault("data.tokenizer", "'pretrained' without a model", "name one with model.pretrained=...")
        if (problem := self.world_problem(self.world_size_hint())) is not None:
            yield problem

    def world_size_hint(self) -> int:
        """The number of processes, as far as the config says: `devices: auto` counts as one."""
        return (1 if self.trainer.devices == "auto" else int(self.trainer.devices)) * self.trainer.num_nodes

    def world_problem(self, world_size: int) -> Fault | None:
        """The fault in sharing the global batch among `world_size` processes, if any."""
        batch, micro = self.data.batch_size, self.trainer.micro_batch_size
        if batch % world_size:
            return Fault(
                "data.batch_size",
                f"{batch} sequences cannot be shared evenly by {world_size} devices",
                f"take a multiple of {world_size}, or another trainer.devices",
            )
        if micro is not None and (batch // world_size) % micro:
            return Fault(
                "trainer.micro_batch_size",
                f"{micro} does not divide the {batch // world_size} sequences of each device",
                f"take a divisor, such as {largest_divisor(batch // world_size, micro)}",
            )
        return None


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of `n` not above `most`."""
    return next(d for d in range(min(n, most), 0, -1) if n % d == 0)


def science_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The differences between two configs (from `to_dict`) that change what a run learns: `key: old -> new`.

    A knob missing from the old config, because it did not exist yet, counts as its default.
    """
    with contextlib.suppress(ConfigError):
        old = RunConfig.from_dict(old).to_dict()
    before, after = (flatten({**tree, "callbacks": training_callbacks(tree.get("callbacks"))}) for tree in (old, new))
    free = marked(RunConfig)
    return [
        f"{key[:60]}: {brief(before.get(key))} -> {brief(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not any(f"{key}.".startswith(f"{knob}.") for knob in free)
    ]
