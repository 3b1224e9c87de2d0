"""Read an untrusted checkpoint: check sizes, then hashes, then load the tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from microgpt import files
from microgpt.engine.store.checkpoint.layout import STATE, TENSORS, WEIGHTS
from microgpt.engine.store.checkpoint.state import unflatten
from microgpt.engine.store.checkpoint.verifying import MAX_JSON_BYTES, damaged, verify
from microgpt.model.files.untrusted import Entry, file_size, read_safetensors_header


def read(path: Path, wanted: Mapping[str, tuple[int, ...]] | None = None) -> tuple[dict[str, Tensor], Any]:
    """Verify a checkpoint and return its weights and state, as passed to `write`.

    Args:
        wanted: the shapes of the model's weights by name; other weights are refused before memory is allocated.

    Raises:
        CheckpointError: the files differ from the manifest or from `wanted`.
        MachineError: the files may be valid but cannot be read here and now.
    """
    if wanted is not None:
        _check_weights(path, wanted)
    verify(path)
    try:
        text = files.read_capped(path / STATE, MAX_JSON_BYTES)
        return _read_tensors(path / WEIGHTS), unflatten(text, _read_tensors(path / TENSORS))
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, str(error)) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:  # the file is mapped; a copy outlives its removal
        return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def _check_weights(path: Path, wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that do not fit the model, and a state too large for its optimizer."""
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
