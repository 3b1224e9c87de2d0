"""The root of the configuration: every node of a run, and the knobs of training itself. No Lightning, no Hydra."""

from collections.abc import Iterator
from typing import Any, Literal

from microgpt.config import Config, Count, Fault, NonNegative, Positive
from microgpt.data.config import DataConfig
from microgpt.engine.optim import OptimConfig
from microgpt.engine.optim.adamw import AdamWConfig
from microgpt.engine.store.checkpoint import CheckpointConfig
from microgpt.engine.trained.evaluate import EvalConfig
from microgpt.engine.trained.sample import SampleConfig
from microgpt.model.config import GPTConfig
from microgpt.model.lora import LoRAConfig
from microgpt.text import brief

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"]


class TrainerConfig(Config):
    """How long and how to train. What is marked (machine) says only how fast, never what is learnt."""

    max_steps: Count | None = None
    "Optimizer steps; when set it wins over max_epochs."
    max_epochs: Positive = 1.0
    "Passes over the training text; an epoch is len(dataset) windows, as the field counts it."
    gradient_clip_val: NonNegative = 1.0
    "Largest norm of the gradient; 0 clips nothing."
    on_nonfinite: Literal["stop", "skip"] = "stop"
    "At a loss or gradient that is not finite: stop before the update, or skip that update and count it."
    freeze: tuple[str, ...] = ()
    "Weights that are not trained, by name: wte.weight, blocks.0.*, *.attn.*"
    early_stopping_patience: Count | None = None
    "Stop after so many evaluations without a better val/loss."
    ema_decay: NonNegative = 0.0
    "Evaluate and save an exponential moving average of the weights with this decay; 0 keeps none."
    find_lr: bool = False
    "First search for a learning rate, plot the search and use what it finds."
    log_every_n_steps: Count = 10
    "Steps between two rows of metrics.csv and two points in TensorBoard."
    precision: Precision = "auto"
    "(machine) Number format; auto takes what the machine does best."
    float32_matmul_precision: Literal["highest", "high", "medium"] | None = None
    "(machine) torch's setting of this name while training: high takes TF32 on GPUs; null leaves it as it is."
    accelerator: Literal["auto", "cpu", "cuda", "gpu", "mps"] = "auto"
    "(machine) Kind of device."
    devices: Count | Literal["auto"] = 1
    "(machine) Devices on each node; auto takes all."
    num_nodes: Count = 1
    "(machine) Nodes."
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    "(machine) How several devices share the work."
    compile: bool | Literal["auto"] = "auto"
    "(machine) torch.compile; auto compiles when the run is long enough to pay for it."
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    "(machine) torch.compile's mode: the other two start a step's kernels on a GPU as CUDA graphs, the last tries more."
    threads: Count | Literal["auto"] = "auto"
    "(machine) CPU threads of each process; auto: one a core. How many there are decides the last bits of sums."
    deterministic: bool = False
    "(machine) Make compiled and parallel kernels reproducible too, at some cost."
    micro_batch_size: Count | None = None
    "(machine) Sequences per forward pass and device, when the whole batch does not fit in memory."
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    "A progress bar, quiet lines, or nothing; auto draws a bar when the output is a terminal."

    def check(self) -> Iterator[Fault]:
        if self.ema_decay >= 1:
            yield Fault("ema_decay", f"{self.ema_decay:g} keeps the first weights for ever", "it must be below 1")


class SweepConfig(Config):
    """How a sweep (-m) is run."""

    detach: bool = False
    "With hydra/launcher=slurm: submit, say how to follow the jobs, and return."


class RunConfig(Config):
    """Everything that a run is a function of."""

    seed: int = 1337
    "Seed of the weights, the order of the data, dropout and the samples."
    resume: Literal["auto", "never", "must"] = "auto"
    "In a folder that holds a checkpoint: continue it, refuse, or insist on one."
    plan: bool = False
    "Print parameters, FLOPs, memory and expected time, and train nothing."
    imports: tuple[str, ...] = ()
    "Python files or modules that register parts of your own."
    data: DataConfig = DataConfig()
    model: GPTConfig = GPTConfig()
    optim: OptimConfig = AdamWConfig()
    lora: LoRAConfig = LoRAConfig()
    trainer: TrainerConfig = TrainerConfig()
    eval: EvalConfig = EvalConfig()
    sample: SampleConfig = SampleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sweep: SweepConfig = SweepConfig()

    def check(self) -> Iterator[Fault]:
        if not 0 <= self.seed < 2**63:
            yield Fault("seed", f"{self.seed} is out of range", "it must be from 0 to 2^63 - 1")
        if self.data.tokenizer == "pretrained" and self.model.pretrained is None:
            yield Fault("data.tokenizer", "'pretrained' without a model", "name one with model.pretrained=...")
        if (problem := self.world_problem(self.world_size_hint())) is not None:
            yield problem

    def world_size_hint(self) -> int:
        """The number of processes, as far as the config tells it: `devices: auto` counts as one."""
        return (1 if self.trainer.devices == "auto" else int(self.trainer.devices)) * self.trainer.num_nodes

    def world_problem(self, world_size: int) -> Fault | None:
        """What is wrong with sharing the global batch between `world_size` processes, if anything."""
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


MACHINE_KNOBS = frozenset(
    "resume plan imports data.path data.url data.corpus data.size data.sha256 data.unknown data.cache_dir "
    "trainer.precision trainer.float32_matmul_precision trainer.accelerator trainer.devices trainer.num_nodes "
    "trainer.strategy trainer.compile trainer.compile_mode trainer.threads trainer.deterministic "
    "trainer.micro_batch_size trainer.progress trainer.log_every_n_steps trainer.early_stopping_patience "
    "trainer.max_steps trainer.max_epochs trainer.on_nonfinite".split()
)
"""Knobs that a resumed run may change: they say how fast, how long or where, not what is learnt at a step."""
MACHINE_NODES = ("eval", "sample", "checkpoint", "sweep")
"""Nodes whose knobs a resumed run may change, all of them."""


def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of `n` that is at most `most`."""
    return next(d for d in range(min(n, most), 0, -1) if n % d == 0)


def science_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The knobs in which two configs (as `to_dict` gives them) would learn differently: `key: old -> new`."""
    before, after = flatten(old), flatten(new)
    return [
        f"{key[:60]}: {brief(before.get(key))} -> {brief(after.get(key))}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and key not in MACHINE_KNOBS
        and not key.startswith(tuple(f"{node}." for node in MACHINE_NODES))
    ]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
