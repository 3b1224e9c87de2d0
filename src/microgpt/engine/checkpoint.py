"""Checkpoint folders: written beside their place, verified by manifest, renamed; the newest that verifies is resumed.

A checkpoint is `step-00001000/` with weights and optimizer state as safetensors, the rest as JSON, and a manifest with
the size and sha256 of each file. It is written under a hidden name in the same folder, flushed to disk, and renamed: a
folder under a final name is whole, whenever the process was killed. Needs torch and safetensors alone.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from microgpt.config import Config, Count
from microgpt.engine import plain
from microgpt.errors import CheckpointError, MachineError

FORMAT = 1
FILES = ("weights.safetensors", "state.safetensors", "state.json")
MAX_JSON_BYTES = 64 * 2**20


class CheckpointConfig(Config):
    """When to save everything that resuming needs."""

    every_n_steps: Count = 500
    "Steps between two checkpoints; the last step is always saved."
    keep: Count = 2
    "The newest so many are kept, and the one with the best val/loss."


def step_name(step: int) -> str:
    """The folder name of the checkpoint after `step` updates."""
    return f"step-{step:08d}"


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a `checkpoints/` folder, newest first."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def write(path: Path, weights: Mapping[str, Tensor], state: Any, info: Mapping[str, Any]) -> None:
    """Write one checkpoint so that it is either whole under `path` or not there at all.

    Args:
        path: `.../checkpoints/step-00001000`.
        weights: the model's tensors by name.
        state: everything else that resuming needs: dicts, lists, scalars, tensors.
        info: plain facts for the manifest, such as step and fingerprint.

    Raises:
        MachineError: when the disk is full or refuses; checkpoints that were there are untouched.
    """
    hidden = path.with_name(f".tmp-{path.name}")
    try:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir(parents=True)
        text, tensors = plain.flatten(state)
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, hidden / FILES[0])
        save_file(tensors, hidden / FILES[1])
        (hidden / FILES[2]).write_text(text, encoding="utf-8")
        sizes = {name: {"size": (hidden / name).stat().st_size, "sha256": sha256(hidden / name)} for name in FILES}
        manifest = {"format": FORMAT, **info, "files": sizes}
        (hidden / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for file in (*FILES, "manifest.json"):
            sync(hidden / file)
        sync(hidden)
        if path.exists():
            remove(path)
        hidden.rename(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(hidden, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        fix = "free some space or choose another hydra.run.dir, then start again: earlier checkpoints are untouched"
        raise MachineError(f"cannot write a checkpoint ({reason})", str(path), fix) from error


def read(path: Path) -> tuple[dict[str, Tensor], Any]:
    """Verify a checkpoint and read it: the weights and the state that `write` was given.

    Raises:
        CheckpointError: when anything differs from what was written.
    """
    verify(path)
    try:
        text = (path / FILES[2]).read_text(encoding="utf-8")
        return load_file(path / FILES[0]), plain.unflatten(text, load_file(path / FILES[1]))
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, str(error)) from error


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, checked for its form.

    Raises:
        CheckpointError: when it is missing, unreadable or of another format.
    """
    file = path / "manifest.json"
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("manifest.json is too large")
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}, this version reads {FORMAT}")
        if set(values["files"]) != set(FILES) or not isinstance(values["step"], int):
            raise ValueError("manifest.json does not list the files of a checkpoint")
        for entry in values["files"].values():
            if not isinstance(entry["size"], int) or not isinstance(entry["sha256"], str):
                raise ValueError("manifest.json gives no size and sha256")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(path, str(error) or type(error).__name__) from error
    return dict(values)


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: naming the first file that differs.
    """
    for name, entry in manifest(path)["files"].items():
        file = path / name
        try:
            if file.stat().st_size != entry["size"]:
                raise damaged(path, f"{name} has {file.stat().st_size} bytes, not {entry['size']}")
            if name == FILES[2] and entry["size"] > MAX_JSON_BYTES:
                raise damaged(path, f"{name} is too large")
            if sha256(file) != entry["sha256"]:
                raise damaged(path, f"{name} differs from its checksum")
        except OSError as error:
            raise damaged(path, f"{name}: {error.strerror}") from error


def newest_valid(folder: Path) -> Iterator[tuple[Path, CheckpointError | None]]:
    """Try the checkpoints of `folder`, newest first: each damaged one with its error, then the first good one."""
    for path in checkpoints(folder):
        try:
            verify(path)
        except CheckpointError as error:
            yield path, error
            continue
        yield path, None
        return


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that it is never tried again; returns where it now lies."""
    n = 0
    while (target := path.with_name(f"damaged-{path.name}" + (f"-{n}" if n else ""))).exists():
        n += 1
    path.rename(target)
    return target


def prune(folder: Path, keep: int, best: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and the one of step `best`, and what killed saves left behind."""
    for old in checkpoints(folder)[keep:]:
        if best is None or old.name != step_name(best):
            remove(old)
    clean(folder)


def clean(folder: Path) -> None:
    """Remove what interrupted saves and removals left behind."""
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a checkpoint: hidden first, so that a half-removed one is never seen."""
    hidden = path.with_name(f".tmp-removed-{path.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def damaged(path: Path, reason: str) -> CheckpointError:
    """The error for a checkpoint that cannot be trusted."""
    return CheckpointError(f"damaged checkpoint ({reason})", str(path), "resume from an earlier one")


def sha256(path: Path) -> str:
    """The file's checksum in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to disk; systems that cannot open folders skip them."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
