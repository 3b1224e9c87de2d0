"""The interface of a model that generation needs; `GPT` has it, and your own model may."""

from typing import Any, Protocol

from torch import Tensor

from microgpt.model.config import GPTConfig
from microgpt.model.generation.kv_cache import KVCache
from microgpt.model.kernels.packed import Packable
from microgpt.model.pos.base import Position


class Decoder(Packable, Protocol):
    """A causal language model that reads tokens in pieces."""

    training: bool

    @property
    def config(self) -> GPTConfig:
        """The architecture; generation reads `block_size` and `n_layer`."""

    @property
    def vocab_size(self) -> int:
        """The number of distinct tokens."""

    @property
    def pos(self) -> Position:
        """The position scheme."""

    def trunk(self, idx: Tensor, cache: KVCache | None = None) -> Tensor:
        """(B, T) tokens -> (B, T, C); appends keys and values to the cache."""

    def logits(self, x: Tensor) -> Tensor:
        """(..., C) from the trunk -> (..., V)."""

    def train(self, mode: bool = True) -> Any:
        """Enter train mode, or eval mode."""

    def eval(self) -> Any:
        """Enter eval mode."""
