"""Refuse a run whose configuration alone shows that no memory of this machine can hold it. Needs no torch.

`plan` computes the memory of a run exactly, from its model. This is a lower bound, from the knobs alone, for runs so
large that making their model would take minutes or all of the memory.
"""

from dataclasses import dataclass
from typing import Any

from microgpt.engine.machine.host_memory import LARGEST_ACCELERATOR, host_bytes, may_have_accelerator
from microgpt.errors import MachineError
from microgpt.text import count_text

ID_BYTES = 2 * 8
"""An input and a target, int64."""
HALF = 2
"""Bytes of a number in the smallest format."""


@dataclass(frozen=True)
class LeastMemory:
    """The least that a training step holds.

    Attributes:
        weights: the number of weights.
        model: bytes of weights, gradients, optimizer state and tables.
        batch: bytes of a forward pass's token ids and of the activations kept for the backward pass.
    """

    weights: int
    model: int
    batch: int

    @property
    def total(self) -> int:
        """Bytes held at one time: activations are gone when the optimizer makes its step."""
        return max(self.model, self.batch)


def require_memory(config: Any, available: int | None = None) -> None:
    """Refuse a configuration, a `RunConfig`, that cannot fit.

    Args:
        available: bytes; by default those of this machine and the others of the run.

    Raises:
        MachineError: it cannot; the error gives the bytes and the knob to lower.
    """
    have = memory_of_run(config) if available is None else available
    least = least_memory(config)
    if have is None or least.total <= have:
        return
    knob, value = too_large(config, least)
    size = f"a model of {count_text(least.weights)} weights" if least.model > least.batch else "one forward pass"
    what = f"{size} with {knob}={value} needs at least {_gb(least.total)}, and there are {_gb(have)}"
    raise MachineError(what, "this machine", f"lower {knob}")


def memory_of_run(config: Any) -> int | None:
    """The bytes of all machines and devices of a run, or more; None if unknown."""
    host, knobs = host_bytes(), config.trainer
    if host is None:
        return None
    each = host
    if knobs.accelerator not in ("cpu", "mps") and may_have_accelerator():
        each += LARGEST_ACCELERATOR * (16 if knobs.devices == "auto" else knobs.devices)
    return each * int(knobs.num_nodes)


def least_memory(config: Any) -> LeastMemory:
    """The least memory of a run of this configuration, for a vocabulary of one token."""
    model, knobs = config.model, config.trainer
    if model.pretrained is not None:  # its sizes are not the config's
        return LeastMemory(0, 0, 0)
    weights = least_weights(model)
    adapters = config.lora.rank * model.n_embd * model.n_layer if config.lora.targets else 0
    size = {"bf16-true": 2, "64-true": 8}.get(knobs.precision, 4)
    copies = 1 + (knobs.ema_decay > 0)
    is_trained_whole = not (knobs.freeze or config.lora.rank)
    if is_trained_whole:
        copies += 1 + config.optim.state_per_weight
    tables = model.pos.table_numbers(model.n_embd, model.n_head, model.block_size) * min(size, 4)
    devices = 1 if knobs.devices == "auto" else knobs.devices * knobs.num_nodes
    sequences = knobs.micro_batch_size or max(1, config.data.batch_size // devices)
    kept = 2 * HALF * model.n_embd * model.n_layer if is_trained_whole else 0
    return LeastMemory(
        weights,
        (weights * copies + adapters) * size + tables,
        sequences * model.block_size * (ID_BYTES + kept),
    )


def least_weights(model: Any) -> int:
    """The least number of weights of a `GPTConfig`'s model, for a vocabulary of one token."""
    C, D = model.n_embd, model.head_width
    attention = C * (C + 2 * model.kv_heads * D) + C * C
    layer = attention + model.mlp.matrices * C * model.hidden
    tables = (2 - model.tie_weights) + 2 * model.ngram_embed + 2 * model.prev_embed
    return int(model.n_layer * layer + C * tables)


def too_large(config: Any, least: LeastMemory) -> tuple[str, int]:
    """The knob, and its value, that exceeds its default the most among those that make the larger part."""
    model = config.model
    knobs = {"model.n_layer": (model.n_layer, 4), "model.n_embd": (model.n_embd, 128)}
    if least.model > least.batch:
        knobs |= {
            "model.mlp_hidden": (model.mlp_hidden or 1, 512),
            "model.block_size": (model.block_size, 64 * 1024),
            "model.ngram_embed": (model.ngram_embed, 32768),
            "model.prev_embed": (model.prev_embed, 64),
            "lora.rank": (config.lora.rank, 64),
        }
    else:
        micro = config.trainer.micro_batch_size
        knobs |= {
            "model.block_size": (model.block_size, 64),
            ("trainer.micro_batch_size" if micro else "data.batch_size"): (micro or config.data.batch_size, 64),
        }
    knob = max(knobs, key=lambda name: knobs[name][0] / knobs[name][1])
    return knob, knobs[knob][0]


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.{0 if n_bytes >= 1e11 else 1}f} GB"
