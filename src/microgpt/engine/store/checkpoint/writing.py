"""Write a checkpoint whole or not at all, and remove old ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from microgpt import files
from microgpt.engine.store.checkpoint.layout import (
    FORMAT,
    MANIFEST,
    STATE,
    TENSORS,
    WEIGHTS,
    checkpoints,
    entry,
    step_name,
)
from microgpt.engine.store.checkpoint.state import flatten
from microgpt.engine.store.checkpoint.tensors import write_tensors
from microgpt.errors import MachineError


def write(path: Path, weights: Mapping[str, Tensor], state: Any, info: Mapping[str, Any]) -> None:
    """Write a checkpoint to `path`, whole or not at all.

    Args:
        path: `.../checkpoints/step-00001000`; an existing checkpoint is replaced.
        weights: the model's tensors by name.
        state: the rest of the training state, as dicts, lists, scalars and tensors.
        info: plain facts for the manifest, such as step and fingerprint.

    Raises:
        MachineError: the disk is full or refuses; the other checkpoints are untouched.
    """
    try:
        with files.new_folder(path) as hidden:
            text, tensors = flatten(state)
            entries = {
                WEIGHTS: write_tensors(hidden / WEIGHTS, weights),
                TENSORS: write_tensors(hidden / TENSORS, tensors),
                STATE: _write_text(hidden / STATE, text),
            }
            _write_text(hidden / MANIFEST, json.dumps({"format": FORMAT, **info, "files": entries}, indent=1))
            if path.exists():
                remove(path)
    except OSError as error:
        fix = "free some space or choose another hydra.run.dir, then start again: earlier checkpoints are untouched"
        raise MachineError(f"cannot write a checkpoint ({error.strerror or error})", str(path), fix) from error


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Remove all checkpoints except the newest `keep` and step `best`, and the leftovers of killed saves."""
    for old in checkpoints(folder)[keep:]:
        if best is None or old.name != step_name(best):
            remove(old)
    clean(folder)


def clean(folder: Path) -> None:
    """Remove the leftovers of interrupted saves and removals."""
    files.remove_leftovers(folder)


def remove(path: Path) -> None:
    """Remove a checkpoint atomically: no reader sees part of it."""
    files.remove_folder(path)


def _write_text(path: Path, text: str) -> dict[str, Any]:
    with files.HashedFile(path) as file:
        file.write(text.encode())
    return entry(file)
