"""Base classes of the position schemes: a config that joins the family by its name, and a module with three hooks.

Position can enter a transformer in three places, so `Position` has three hooks that do nothing; a scheme overrides
the ones it needs. A new scheme is one file beside this one (or any imported file) and one YAML file.
Imports only torch, `microgpt.config` and `microgpt.registry`.
"""

from collections.abc import Callable, Iterator
from typing import Self

import torch
from torch import Tensor, nn

from microgpt.config import Fault
from microgpt.registry import Choice

Start = int | Tensor
"""An int, or for a single token an int64 scalar on the device: see `compiled.StaticStep`."""


def rows(table: Tensor, start: Start, count: int) -> Tensor:
    """table[start : start + count]."""
    return table[start : start + count] if isinstance(start, int) else table.index_select(0, start.view(1))


class Position(nn.Module):
    """Base of the position schemes, which tell a model the order of its tokens.

    `start` is the number of tokens already cached; `rows` reads a table from that row on.

    Shapes: B batch, T new tokens, C = n_embd, H heads, D = C / H.
    """

    def embed(self, x: Tensor, start: Start) -> Tensor:
        """(B, T, C) -> (B, T, C): the token embeddings with positions start, start + 1, ... mixed in."""
        return x

    def rotate(self, q: Tensor, k: Tensor, start: Start) -> tuple[Tensor, Tensor]:
        """(B, H, T, D), (B, H_kv, T, D) -> the same: queries and keys rotated by their positions."""
        return q, k

    def bias(self, q_len: int, k_len: int) -> Tensor | None:
        """(H, q_len, k_len), added to the attention scores of the last q_len of k_len tokens; None: no bias.

        The model masks the future; the scheme need not.
        """
        return None

    def tables(self, device: torch.device) -> dict[str, Tensor]:
        """The scheme's constants by name, on `device`; a scheme that has any calls `fill_tables` in its constructor."""
        return {}

    def fill_tables(self, device: torch.device | None = None) -> None:
        """Register the constants as buffers that are not saved, on `device` (default: torch's default device)."""
        for name, table in self.tables(device or torch.get_default_device()).items():
            self.register_buffer(name, table, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move like any module, but recompute the tables: `.to(bfloat16)` must not round them, and `.to_empty` must
        not leave them empty."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for table in list(self.buffers(recurse=False))[:1]:
            self.fill_tables(table.device)
        return self


class PositionConfig(Choice, family="position scheme"):
    """The knobs of a position scheme; a subclass with `name=` adds a scheme."""

    def build(self, n_embd: int, n_head: int, block_size: int) -> Position:
        """Build the scheme's module for a model of this width, number of heads and context."""
        return Position()

    def table_numbers(self, n_embd: int, n_head: int, block_size: int) -> int:
        """The least number of numbers in the scheme's tables, trained or not; needs no torch."""
        return 0

    def check_model(self, n_embd: int, n_head: int, block_size: int) -> Iterator[Fault]:
        """Yield the reasons why the scheme cannot work in such a model; n_head divides n_embd."""
        return iter(())
