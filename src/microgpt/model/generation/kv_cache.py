"""Cache of earlier tokens' keys and values, so that each new token costs one row of attention."""

import math

import torch
from torch import Tensor

from microgpt.model.kernels import hardware
from microgpt.model.pos.base import Start


class KVCache:
    """Memory for `capacity` tokens in every layer, filled in place.

    The first keys allocate it, on their device and in the format in which attention is fastest there:
    2 * n_layer * B * H_kv * capacity * D numbers.
    """

    def __init__(self, n_layer: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        "Number of tokens that every layer holds; advances at the end of a forward pass."
        self.recent: Tensor | None = None
        "(B, reach): the tokens that `embeddings.with_before` prepends to the next; None before the first."
        self._layers: list[tuple[Tensor, Tensor] | None] = [None] * n_layer

    @property
    def start(self) -> Start:
        """The position of the next token."""
        return self.length

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, H_kv, T, D) to a layer's keys and values; returns all of them, (B, H_kv, length + T, D)."""
        T = k.shape[2]
        memory = self._layers[layer]
        if memory is None:
            B, H, _, D = k.shape
            dtype = hardware.cache_dtype(k.device.type, k.dtype)
            room = (B, H, self.capacity, D)
            # Zeros, because a static cache masks unfilled positions and a NaN would survive the mask.
            memory = self._layers[layer] = (k.new_zeros(room, dtype=dtype), v.new_zeros(room, dtype=dtype))
        keys, values = memory
        keys.narrow(2, self.length, T).copy_(k)  # one operation; indexing takes three
        values.narrow(2, self.length, T).copy_(v)
        return keys.narrow(2, 0, self.length + T), values.narrow(2, 0, self.length + T)

    def n_bytes(self) -> int:
        """The size of the memory allocated so far."""
        return sum(x.numel() * x.element_size() for memory in self._layers if memory for x in memory)

    def advance(self, count: int) -> None:
        """Add `count` to the length, after every layer has appended its keys and values."""
        self.length += count

    def remember(self, recent: Tensor) -> None:
        """Keep the latest tokens (B, reach), which `embeddings.with_before` prepends to the next."""
        self.recent = recent.clone(memory_format=torch.contiguous_format)

    def clear(self) -> None:
        """Forget all tokens but keep the memory."""
        self.length, self.recent = 0, None


class StaticCache(KVCache):
    """A view of another cache that appends one token per row, at a position stored on the device.

    Shapes and addresses never change, so that the kernels of one step, recorded once, generate every token.

    Args:
        cache: holds at least one token.
        bias: as for `follow`.
        width: the most tokens, up to the other cache's capacity; a step reads them all, whether they are there or not.
    """

    def __init__(self, cache: KVCache, bias: Tensor | None, width: int) -> None:
        super().__init__(len(cache._layers), width)
        self._layers = [memory and (memory[0][:, :, :width], memory[1][:, :, :width]) for memory in cache._layers]
        keys, _ = next(memory for memory in self._layers if memory is not None)
        self.place = torch.empty((), dtype=torch.int64, device=keys.device)
        self.bias = None if bias is None else torch.zeros(len(bias), 1, width, device=keys.device)
        self.recent = None if cache.recent is None else cache.recent.clone()
        self.follow(cache, bias)

    @property
    def start(self) -> Start:
        return self.place

    @property
    def mask(self) -> Tensor:
        """(H or 1, 1, capacity): added to the scores, -inf beyond the position."""
        bias = torch.zeros(1, 1, 1, device=self.place.device) if self.bias is None else self.bias
        return torch.where(torch.arange(self.capacity, device=self.place.device) > self.place, -math.inf, bias)

    def follow(self, cache: KVCache, bias: Tensor | None) -> None:
        """Take the other cache's position; `bias` is the position scheme's for the next token, (H, 1, length + 1)."""
        self.place.fill_(cache.length)
        if self.bias is not None and bias is not None:
            self.bias[..., : cache.length + 1] = bias
        if cache.recent is not None:
            self.remember(cache.recent)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, H_kv, 1, D) at the position; returns the whole memory, (B, H_kv, capacity, D)."""
        memory = self._layers[layer]
        assert memory is not None
        for room, x in zip(memory, (k, v), strict=True):
            room.index_copy_(2, self.place.view(1), x.to(room.dtype))
        return memory

    def advance(self, count: int) -> None:
        """Do nothing: `follow` sets the position."""

    def remember(self, recent: Tensor) -> None:
        assert self.recent is not None
        self.recent.copy_(recent)
