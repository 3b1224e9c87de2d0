"""Check checkpoints against their manifests, find the newest valid one, and set damaged ones aside."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from microgpt import files
from microgpt.engine.store.checkpoint.layout import FILES, FORMAT, MANIFEST, STATE, checkpoints, step_name
from microgpt.errors import CheckpointError, MachineError
from microgpt.model.files.untrusted import file_size, read_safetensors_header
from microgpt.text import one_line, shown

MAX_JSON_BYTES = 4 << 20  # parsed JSON can take 50 times its size
MAX_DEPTH = 9  # levels: 1 of the manifest itself, 8 of the config


def manifest(path: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest and check its form.

    Raises:
        CheckpointError: the manifest is missing, malformed, of another format or of another step.
        MachineError: the manifest cannot be read here and now.
    """
    try:
        file_size(path / MANIFEST)
        values = files.read_json(path / MANIFEST, MAX_JSON_BYTES, MAX_DEPTH)
        _check_form(values)
        if step_name(values["step"]) != path.name:
            raise ValueError(f"{MANIFEST} is of step {shown(values['step'])}")
    except CheckpointError as error:
        raise damaged(path, f"{MANIFEST}: {error.what}") from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    return values


def _check_form(values: dict[str, Any]) -> None:
    """Check that a manifest has the keys that `write` sets, and fill in keys that older versions left out.

    Raises:
        ValueError: the manifest is malformed.
    """
    if values.get("format") != FORMAT:
        raise ValueError(f"format {shown(values.get('format'))}, this version reads {FORMAT}")
    entries = values.get("files")
    if not isinstance(entries, dict) or set(entries) != set(FILES):
        raise ValueError(f"{MANIFEST} does not list the files of a checkpoint")
    for entry in entries.values():
        known = isinstance(entry, dict)
        if not known or type(entry.get("size")) is not int or type(entry.get("sha256")) is not str:
            raise ValueError(f"{MANIFEST} gives no size and sha256")
    if type(values.get("step")) is not int:
        raise ValueError(f"{MANIFEST} is of step {shown(values.get('step'))}")
    for name in ("config", "fingerprint"):
        if not isinstance(values.setdefault(name, {}), dict):
            raise ValueError(f"{MANIFEST} gives no {name}")


def verify(path: Path) -> None:
    """Check every file of a checkpoint against its manifest.

    Raises:
        CheckpointError: a file differs; the error names the first such file.
        MachineError: a file cannot be read here and now.
    """
    for name, entry in manifest(path)["files"].items():
        file = path / name
        try:
            size = file_size(file)
            if size != entry["size"]:
                raise damaged(path, f"{name} has {size} bytes, not {shown(entry['size'])}")
            if name == STATE and size > MAX_JSON_BYTES:
                raise damaged(path, f"{name} is too large")
            with file.open("rb"):  # raises if permission is missing, which is not damage
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
    """Verify checkpoints, newest first; yield each damaged one with its error, then the first valid one."""
    for path in checkpoints(folder):
        try:
            verify(path)
        except CheckpointError as error:
            yield path, error
            continue
        yield path, None
        return


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint so that no run tries it again; return its new path."""
    n = 0
    while os.path.lexists(target := path.with_name(f"damaged-{path.name}" + (f"-{n}" if n else ""))):
        n += 1
    path.rename(target)
    return target


def damaged(path: Path, reason: str) -> CheckpointError:
    """Make the error for a damaged checkpoint."""
    return CheckpointError(f"damaged checkpoint ({one_line(reason)})", str(path), "resume from an earlier one")


def unreadable(path: Path, error: OSError) -> MachineError:
    """Make the error for a checkpoint that cannot be read here and now. It may be valid, so it is not set aside."""
    fix = "check its permissions and the disk, then start again"
    return MachineError(f"cannot read the checkpoint ({error.strerror})", str(path), fix)
