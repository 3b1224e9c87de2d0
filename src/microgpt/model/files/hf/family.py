"""Base class of the Hugging Face families: which configs a family can express, its config.json, its weight map.

The map is a list of rules. A rule maps one of our weights to one or several of theirs. If our model lacks the weight (a
bias, a norm's gain), theirs is filled with a neutral value. One table thus serves reading and writing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from microgpt.errors import CheckpointError, UsageError
from microgpt.model.config import GPTConfig
from microgpt.text import did_you_mean, shown

ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu",
    "relu2": "relu2",
}  # fmt: skip
"Their activations -> our ungated MLPs."
ACTIVATION_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "relu2": "relu2"}
"Our ungated MLPs -> their activations."
GATES = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}
"Their gate activations -> our gated MLPs."
GATE_NAMES = {"swiglu": "silu", "geglu": "gelu"}
"Our gated MLPs -> their gate activations."


@dataclass(frozen=True)
class Rule:
    """One of our weights, and their weights that make it up, stacked by rows."""

    ours: str
    theirs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    "The shape of each of their weights, in our layout."
    is_transposed: bool = False
    "Whether their weights are (in, out); ours are (out, in)."
    filling: float | Tensor = 0.0
    "The value of their weights if our model has no such weight."
    is_repeated: bool = False
    "Whether each of their weights equals our whole weight."
    heads: int = 1
    "Above 1: their rows are ordered by head, the three of its query, key and value together; ours by these three."

    def split(self, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Split our weight into theirs, by name."""
        if self.is_repeated:
            yield from ((name, weight.clone()) for name in self.theirs)
            return
        if self.heads > 1:
            weight = swapped(weight, 3, self.heads)
        for name, part in zip(self.theirs, torch.split(weight, [shape[0] for shape in self.shapes]), strict=True):
            yield name, (part.T if self.is_transposed else part).contiguous()

    def join(self, parts: list[Tensor]) -> Tensor | None:
        """Join their weights, in the order of `theirs`, into ours; None if they cannot form one weight."""
        if self.is_repeated:
            return parts[0] if all(torch.equal(part, parts[0]) for part in parts) else None
        parts = [part.T for part in parts] if self.is_transposed else parts
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        return (swapped(joined, self.heads, 3) if self.heads > 1 else joined).contiguous()

    def filled(self, dtype: torch.dtype) -> Tensor:
        """The substitute for our weight if our model lacks it."""
        rows = sum(shape[0] for shape in self.shapes)
        return torch.zeros((rows, *self.shapes[0][1:]), dtype=dtype) + torch.as_tensor(self.filling).to(dtype)


def swapped(weight: Tensor, outer: int, inner: int) -> Tensor:
    """Rows (outer inner D, ...) reordered to (inner outer D, ...)."""
    return weight.reshape(outer, inner, -1, *weight.shape[1:]).transpose(0, 1).reshape(weight.shape)


def linear(
    ours: str, theirs: tuple[str, ...], outs: tuple[int, ...], width: int, has_bias: bool, is_transposed: bool = False
) -> Iterator[Rule]:
    """The rules of a matrix (out, in) and its bias; `outs` are the rows of each of their matrices."""
    names = tuple(f"{name}.weight" for name in theirs)
    yield Rule(f"{ours}.weight", names, tuple((n, width) for n in outs), is_transposed)
    if has_bias:
        yield Rule(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs), tuple((n,) for n in outs))


def norm(ours: str, theirs: str, width: int, has_shift: bool) -> Iterator[Rule]:
    """The rules of a norm's gain and shift."""
    yield Rule(f"{ours}.weight", (f"{theirs}.weight",), ((width,),), filling=1.0)
    if has_shift:
        yield Rule(f"{ours}.bias", (f"{theirs}.bias",), ((width,),))


class Family(ABC):
    """A stock architecture of transformers; a subclass registers itself with `model_type=`."""

    model_type: ClassVar[str]
    "The architecture's name in config.json."
    architecture: ClassVar[str]
    "The class of transformers that opens it."
    prefix: ClassVar[str]
    "Prefix of every weight name but the head's."
    head: ClassVar[str] = "lm_head"
    "The name of the head's weight, without `.weight`."
    own_fields: ClassVar[frozenset[str]] = frozenset()
    "Fields of config.json that this architecture reads and that others may not have."
    is_written: ClassVar[bool] = True
    "Whether models are exported as this; False if another family expresses all that it does."
    members: ClassVar[dict[str, "Family"]] = {}

    def __init_subclass__(cls, *, model_type: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.model_type = model_type
        cls.members[model_type] = cls()

    @abstractmethod
    def blockers(self, config: GPTConfig) -> Iterator[str]:
        """Yield the fields, as `name=value`, that the architecture cannot express."""

    @abstractmethod
    def write_config(self, config: GPTConfig, vocab_size: int) -> dict[str, Any]:
        """The architecture's part of config.json, for a config without blockers."""

    @abstractmethod
    def read_config(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Our knobs from their config.json, and the fields, as `name=value`, that our parts cannot express."""

    @abstractmethod
    def rules(self, config: GPTConfig, vocab_size: int, values: Mapping[str, Any]) -> Iterator[Rule]:
        """The rules of all the architecture's weights; `values` is its config.json."""


def part_blockers(config: GPTConfig, norm: str, positions: Iterable[str], mlps: Iterable[str]) -> Iterator[str]:
    """Yield the norm, position scheme and MLP that an architecture lacks, as `name=value`."""
    if config.norm.name != norm:
        yield f"norm={config.norm.name}"
    if config.pos.name not in positions:
        yield f"pos={config.pos.name}"
    if config.mlp.name not in mlps:
        yield f"mlp={config.mlp.name}"


def common_blockers(config: GPTConfig) -> Iterator[str]:
    """Yield the fields that none of these architectures can express."""
    if config.residual != "sequential":
        yield f"residual={config.residual}"
    if config.norm_place != "pre":
        yield f"norm_place={config.norm_place}"
    if config.qk_norm:
        yield "qk_norm=true"
    if config.logit_softcap:
        yield f"logit_softcap={config.logit_softcap:g}"
    if config.ngram_embed:
        yield f"ngram_embed={config.ngram_embed}"
    if config.prev_embed:
        yield f"prev_embed={config.prev_embed}"
    if config.value_embed:
        yield "value_embed=true"
    if config.resid_scale:
        yield "resid_scale=true"


def family_for(config: GPTConfig) -> Family:
    """The family that expresses a model.

    Raises:
        UsageError: none does; names the fields that prevent each.
    """
    reasons = []
    for family in (family for family in Family.members.values() if family.is_written):
        blocking = list(family.blockers(config))
        if not blocking:
            return family
        reasons.append((len(blocking), f"not {family.architecture}, because of {', '.join(blocking)}"))
    what = "no stock class expresses this model: " + "; ".join(reason for _, reason in sorted(reasons))
    raise UsageError(what, "the model's config", "train without these, or export with --format safetensors")


def family_of(values: Mapping[str, Any], where: str) -> Family:
    """The family that a config.json names.

    Raises:
        CheckpointError: the family is unknown.
    """
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in Family.members:
        fix = did_you_mean(str(kind), Family.members)
        raise CheckpointError(f"model_type {shown(kind)}, which our parts cannot express", where, fix)
    return Family.members[kind]


def typed(values: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """A field of an untrusted config.json, checked for its type; the default if it is missing or null.

    Raises:
        TypeError: the field has another type.
    """
    value = values.get(name)
    if value is None:
        return default
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{name}={shown(value)} is no {kind.__name__}")
    return value
