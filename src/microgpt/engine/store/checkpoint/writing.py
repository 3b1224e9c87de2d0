"""Write a checkpoint so that it appears whole, and remove the ones that need not be kept."""

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
    """Write a checkpoint that is either whole under `path` or not there at all.

    Args:
        path: `.../checkpoints/step-00001000`; a checkpoint that is there is replaced.
        weights: the model's tensors by name.
        state: everything else that resuming needs: dicts, lists, scalars, tensors.
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
    """Remove all checkpoints but the newest `keep` and the one of step `best`, and what killed saves left behind."""
    for old in checkpoints(folder)[keep:]:
        if best is None or old.name != step_name(best):
            remove(old)
    clean(folder)


def clean(folder: Path) -> None:
    """Remove what interrupted saves and removals left behind."""
    files.remove_leftovers(folder)


def remove(path: Path) -> None:
    """Remove a checkpoint; no part of it is ever seen."""
    files.remove_folder(path)


def _write_text(path: Path, text: str) -> dict[str, Any]:
    with files.HashedFile(path) as file:
        file.write(text.encode())
    return entry(file)
