"""Keys and values of the tokens seen so far, so that each new token costs one column of attention."""

import torch
from torch import Tensor


class KVCache:
    """Room for `capacity` tokens in every layer, filled in place.

    The memory is taken when the first keys come, in their type and on their device: 2 * n_layer * B * H_kv *
    capacity * D numbers.
    """

    def __init__(self, n_layer: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        "Tokens that every layer holds; the forward pass moves it on when it is through."
        self.recent: Tensor | None = None
        "(B, 2): the last two tokens, which n-gram embeddings of the next ones need."
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layer

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H_kv, T, D) behind what the layer holds; returns all of it, (B, H_kv, length + T, D)."""
        T = k.shape[2]
        memory = self._layers[layer]
        if memory is None:
            B, H, _, D = k.shape
            memory = self._layers[layer] = (k.new_empty(B, H, self.capacity, D), v.new_empty(B, H, self.capacity, D))
        keys, values = memory
        keys.narrow(2, self.length, T).copy_(k)  # one operation where an index takes three
        values.narrow(2, self.length, T).copy_(v)
        return keys.narrow(2, 0, self.length + T), values.narrow(2, 0, self.length + T)

    def advance(self, ids: Tensor) -> None:
        """Count (B, T) tokens as held: every layer has appended their keys and values."""
        self.length += ids.shape[1]
        self.recent = (ids if self.recent is None else torch.cat((self.recent, ids), dim=1))[:, -2:]
