"""Restrict a callback's state to plain data, which a checkpoint stores exactly and loads without running code."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from microgpt.engine.store.checkpoint import state as state_files
from microgpt.engine.store.checkpoint.tensors import NAMES
from microgpt.errors import UsageError

MOST_TEXT = 1 << 20
"""Maximum characters of a callback's state as JSON; large data belongs in tensors."""
MOST_DEPTH = 32
"""Maximum nesting of dicts, lists and tuples."""
PLAIN = "str, int, float, bool, None, list, tuple, dict or tensors"


def require_plain(state: Mapping[str, Any], n_bytes: int) -> None:
    """Check the callbacks' entries of a checkpoint before it is written.

    Args:
        state: the checkpoint; a callback's `state_dict()` is under "callbacks" and its key, an entry added by
            `on_save_checkpoint` under a separate key.
        n_bytes: size of the model's weights; the tensors of all callbacks together may be four times as large.

    Raises:
        UsageError: an entry is not plain data or is too large; the error names the callback and the entry.
    """
    added = {key: value for key, value in state.items() if key not in ("callbacks", "optimizer_states", "microgpt")}
    parts = {f"the state of callback {key}": value for key, value in state.get("callbacks", {}).items()}
    parts |= {f"the checkpoint's entry {key!r}, which a callback added,": value for key, value in added.items()}
    left = 4 * n_bytes + (1 << 19)
    for name, value in parts.items():
        if (fault := plain_fault(value, "")) is not None:
            path, what = fault
            where = f" at {path}" if path else ""
            raise UsageError(f"{name} holds {what}{where}, which a checkpoint cannot hold", "", f"save {PLAIN}")
        text, tensors = state_files.flatten(value)
        left -= sum(tensor.nbytes for tensor in tensors.values())
        if len(text) > MOST_TEXT:
            what = f"{name} takes {len(text):,} characters, and may take {MOST_TEXT:,}"
            raise UsageError(what, "", "save less of it, or save long lists of numbers as tensors")
        if left < 0:
            what = f"{name} brings the tensors that callbacks save to more than four times the model's weights"
            raise UsageError(what, "", "save less of it")


def plain_fault(value: Any, path: str, depth: int = 0) -> tuple[str, str] | None:
    """Find the first value in a nested state that is not plain: its path and a description; None if all are plain."""
    if depth > MOST_DEPTH:
        return path[:60], f"more than {MOST_DEPTH} levels"
    if isinstance(value, Tensor):
        is_plain = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided
        return None if is_plain and value.dtype in NAMES else (path, f"a {type(value).__name__} of {value.dtype}")
    if value is None or type(value) in (str, int, float, bool):
        return None
    if type(value) in (list, tuple):
        faults = (plain_fault(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
        return next((fault for fault in faults if fault), None)
    if type(value) is dict:
        for key, item in value.items():
            if type(key) not in (str, int, float, bool):
                return path, f"a key of type {type(key).__name__}"
            if (fault := plain_fault(item, f"{path}.{key}" if path else str(key), depth + 1)) is not None:
                return fault
        return None
    return path, f"a {type(value).__name__}"
