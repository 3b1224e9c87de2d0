"""Build a model from another project's weights, once they have our names."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microgpt.engine.exchange.pickled import TensorSource
from microgpt.errors import CheckpointError
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.folder import TABLES_LIMIT
from microgpt.model.files.without_weights import without_weights
from microgpt.text import one_line, shown

WRAPPERS = ("_forward_module.", "_orig_mod.")
"Prefixes that Lightning Fabric and torch.compile add to every name."


@dataclass(frozen=True)
class Origin:
    """Where weights come from, for errors."""

    path: Path
    project: str
    sizes: str
    "What the checkpoint calls its sizes."

    def refuse(self, names: Iterable[Any], prefix: str = "") -> None:
        """Refuse entries that the project does not write: without them it might be another model.

        Raises:
            CheckpointError: there are such entries.
        """
        if listed := ", ".join(shown(f"{prefix}{name}") for name in sorted(map(str, names))[:5]):
            what = f"entries that are not {self.project}'s and would be lost: {listed}"
            fix = f"it is of a changed {self.project}: take out what its model can do without"
            raise CheckpointError(what, str(self.path), fix)


def rename(name: str, table: Mapping[str, str]) -> str:
    """Our name for a weight; `table` has parts of their names."""
    for prefix in WRAPPERS:
        name = name.removeprefix(prefix)
    for theirs, ours in table.items():
        name = name.replace(theirs, ours)
    return name


def drop_tied_head(weights: dict[str, Tensor]) -> bool:
    """Take out a head that is the token embedding again; whether the weights have no head of their own."""
    head, table = weights.get("head.weight"), weights.get("wte.weight")
    if head is not None and table is not None and head.shape == table.shape and torch.equal(head, table):
        del weights["head.weight"]
    return "head.weight" not in weights


def fill(config: GPTConfig, vocab_size: int, weights: Mapping[str, Tensor], origin: Origin) -> GPT:
    """Build the model with these weights, in eval mode and in the widest of their dtypes.

    Raises:
        CheckpointError: names or shapes are not those of the config, or a weight is no plain tensor.
    """
    path, fix = str(origin.path), f"it is no checkpoint of {origin.project}"
    size = TensorSource(weights, origin.path).size
    if 4 * config.n_layer > len(weights):
        raise CheckpointError(f"{config.n_layer} layers in {len(weights)} weights", path, "the file is damaged")
    if vocab_size < 1:
        raise CheckpointError(f"a vocabulary of {vocab_size}", path, fix)
    if 8 * config.block_size * config.n_embd > max(TABLES_LIMIT, size):  # position schemes keep tables
        what = f"a context of {config.block_size} and a width of {config.n_embd} are too much for {size:,} bytes"
        raise CheckpointError(what, path, fix)
    with without_weights():
        model = GPT(config, vocab_size)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        what = f"{one_line(odd[0], 60)} has the shape {found.get(odd[0])}, {origin.sizes} say {wanted.get(odd[0])}"
        raise CheckpointError(what, path, fix)
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in weights.values()))
    model.load_state_dict(dict(weights), assign=True)
    return model.to(dtype).eval()
