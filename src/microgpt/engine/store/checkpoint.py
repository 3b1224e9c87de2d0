"""Checkpoint folders: written beside their place, verified by manifest, renamed; the newest that verifies is resumed.

A checkpoint is `step-00001000/` with weights and optimizer state as safetensors, the rest as JSON, and a manifest with
the size and sha256 of each file. It is written under a hidden name in the same folder, flushed to disk, and renamed: a
folder under a final name is whole, whenever the process was killed. Nothing in it is believed when it is read: it may
come from anyone. Needs torch and safetensors alone.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from microgpt import files
from microgpt.config import Config, Count
from microgpt.engine.store import state_files as plain
from microgpt.engine.store.hashed_file import write_tensors
from microgpt.errors import CheckpointError, MachineError
from microgpt.model.files.untrusted import Entry, file_size, read_safetensors_header
from microgpt.text import one_line, shown

FORMAT = 1
WEIGHTS, TENSORS, STATE, MANIFEST = "weights.safetensors", "state.safetensors", "state.json", "manifest.json"
FILES = (WEIGHTS, TENSORS, STATE)
MAX_JSON_BYTES = 4 << 20  # parsed, JSON may take 50 times its size


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
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-[0-9]{8,18}", path.name)]
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
    try:
        with files.new_folder(path) as hidden:
            text, tensors = plain.flatten(state)
            entries = {
                WEIGHTS: write_tensors(hidden / WEIGHTS, weights),
                TENSORS: write_tensors(hidden / TENSORS, tensors),
                STATE: _write_json(hidden / STATE, text),
            }
            _write_json(hidden / MANIFEST, json.dumps({"format": FORMAT, **info, "files": entries}, indent=1))
            if path.exists():
                remove(path)
    except OSError as error:
        fix = "free some space or choose another hydra.run.dir, then start again: earlier checkpoints are untouched"
        raise MachineError(f"cannot write a checkpoint ({error.strerror or error})", str(path), fix) from error


def _write_json(path: Path, text: str) -> dict[str, Any]:
    with files.HashedFile(path) as file:
        file.write(text.encode())
    return {"size": file.size, "sha256": file.sha256}


def read(path: Path, wanted: Mapping[str, tuple[int, ...]] | None = None) -> tuple[dict[str, Tensor], Any]:
    """Verify a checkpoint and read it: the weights and the state that `write` was given.

    Args:
        wanted: the model's weights and their shapes; what differs is refused before memory is taken.

    Raises:
        CheckpointError: when anything differs from what was written or wanted.
    """
    if wanted is not None:
        _check_weights(path, wanted)
    verify(path)
    try:
        text = files.read_capped(path / STATE, MAX_JSON_BYTES)
        return _read_tensors(path / WEIGHTS), plain.unflatten(text, _read_tensors(path / TENSORS))
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, str(error)) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:  # maps the file: a copy stays when the checkpoint is pruned
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def _check_weights(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that are not those of the model, and a state that is too large to be its optimizer's."""
    header, size = read_safetensors_header(path / WEIGHTS)
    if odd := sorted(header.keys() ^ wanted.keys()):
        state = "is missing" if odd[0] in wanted else "is unknown"
        raise damaged(path, f"{len(odd)} weights differ from the model's: {odd[0][:60]!r} {state}")
    for name, shape in wanted.items():
        entry: Entry = header[name]
        if entry.shape != shape or entry.dtype not in ("F64", "F32", "BF16", "F16"):
            raise damaged(path, f"{name} is {entry.dtype} {entry.shape}, the model's has the shape {shape}")
    most = 16 * size + (1 << 20)  # two moments, an average and a copy in float64, of weights in 16 bits
    if (found := file_size(path / TENSORS)) > most:
        raise damaged(path, f"{TENSORS} has {found:,} bytes, more than an optimizer of this model can need")
    read_safetensors_header(path / TENSORS)


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, checked for its form.

    Raises:
        CheckpointError: when it is missing, unreadable, of another format or of another step.
    """
    try:
        file_size(path / MANIFEST)
        values = files.read_json(path / MANIFEST, MAX_JSON_BYTES, depth=9)  # itself, and 8 of the config
        if values.get("format") != FORMAT:
            raise ValueError(f"format {shown(values.get('format'))}, this version reads {FORMAT}")
        entries = values.get("files")
        if not isinstance(entries, dict) or set(entries) != set(FILES):
            raise ValueError(f"{MANIFEST} does not list the files of a checkpoint")
        for entry in entries.values():
            if (
                not isinstance(entry, dict)
                or type(entry.get("size")) is not int
                or type(entry.get("sha256")) is not str
            ):
                raise ValueError(f"{MANIFEST} gives no size and sha256")
        if type(values.get("step")) is not int or step_name(values["step"]) != path.name:
            raise ValueError(f"{MANIFEST} is of step {shown(values.get('step'))}")
        for name in ("config", "fingerprint"):
            if not isinstance(values.setdefault(name, {}), dict):
                raise ValueError(f"{MANIFEST} gives no {name}")
    except CheckpointError as error:
        raise damaged(path, f"{MANIFEST}: {error.what}") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    return values


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: naming the first file that differs.
    """
    for name, entry in manifest(path)["files"].items():
        file = path / name
        try:
            size = file_size(file)
            if size != entry["size"]:
                raise damaged(path, f"{name} has {size} bytes, not {shown(entry['size'])}")
            if name == STATE and size > MAX_JSON_BYTES:
                raise damaged(path, f"{name} is too large")
            with file.open("rb"):  # what may not be read is not damaged
                pass
            if name != STATE:
                read_safetensors_header(file)
            if files.sha256(file) != entry["sha256"]:
                raise damaged(path, f"{name} differs from its checksum")
        except CheckpointError as error:
            raise error if error.where == str(path) else damaged(path, f"{name}: {error.what}") from error
        except OSError as error:
            raise unreadable(path, error) from error


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
    while os.path.lexists(target := path.with_name(f"damaged-{path.name}" + (f"-{n}" if n else ""))):
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
    files.remove_leftovers(folder)


def remove(path: Path) -> None:
    """Remove a checkpoint, of which never a part is seen."""
    files.remove_folder(path)


def damaged(path: Path, reason: str) -> CheckpointError:
    """The error for a checkpoint that cannot be trusted."""
    return CheckpointError(f"damaged checkpoint ({one_line(reason)})", str(path), "resume from an earlier one")


def unreadable(path: Path, error: OSError) -> MachineError:
    """The error for a checkpoint that may be good and cannot be read here and now: it is not set aside."""
    fix = "check its permissions and the disk, then start again"
    return MachineError(f"cannot read the checkpoint ({error.strerror})", str(path), fix)
