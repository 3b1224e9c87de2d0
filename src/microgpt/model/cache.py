"""Keys and values of the tokens seen so far, so that each new token costs one column of attention."""

import torch
from torch import Tensor


class KVCache:
    """Room for `capacity` tokens in every layer, filled in place.

    The memory is taken when the first keys come, on their device: 2 * n_layer * B * H_kv * capacity * D numbers, of
    their type, on a CPU float32 at least, as attention there is four times slower in bfloat16 (16 x 6 heads of 64,
    128 tokens).
    """

    def __init__(self, n_layer: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        "Tokens that every layer holds; the forward pass moves it on when it is through."
        self.recent: Tensor | None = None
        "(B, reach): what `ngram.with_before` puts before the next tokens; None before the first."
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layer

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Add (B, H_kv, T, D) behind what the layer holds; returns all of it, (B, H_kv, length + T, D)."""
        T = k.shape[2]
        memory = self._layers[layer]
        if memory is None:
            B, H, _, D = k.shape
            dtype = torch.promote_types(k.dtype, torch.float32) if k.device.type == "cpu" else k.dtype
            room = (B, H, self.capacity, D)
            memory = self._layers[layer] = (k.new_empty(room, dtype=dtype), v.new_empty(room, dtype=dtype))
        keys, values = memory
        keys.narrow(2, self.length, T).copy_(k)  # one operation where an index takes three
        values.narrow(2, self.length, T).copy_(v)
        return keys.narrow(2, 0, self.length + T), values.narrow(2, 0, self.length + T)

    def advance(self, count: int) -> None:
        """Count so many tokens as held: every layer has appended their keys and values."""
        self.length += count
