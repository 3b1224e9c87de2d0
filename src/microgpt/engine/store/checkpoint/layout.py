"""Names of a checkpoint's folder and files, and how often one is written.

checkpoints/step-00001000/
    weights.safetensors     the model's weights
    state.safetensors       the tensors of everything else: optimizer, averages, random states
    state.json              the rest of the state, with references to those tensors
    manifest.json           format, step, config, fingerprint; size and SHA-256 of the other three
"""

import re
from pathlib import Path
from typing import Any

from microgpt.config import Config, Count
from microgpt.files import HashedFile

FORMAT = 1
WEIGHTS, TENSORS, STATE, MANIFEST = "weights.safetensors", "state.safetensors", "state.json", "manifest.json"
FILES = (WEIGHTS, TENSORS, STATE)
"The files that the manifest describes."


class CheckpointConfig(Config):
    """When to save everything that resuming needs."""

    every_n_steps: Count = 500
    "Steps between two checkpoints; the last step is always saved."
    keep: Count = 2
    "The newest so many are kept, and the one with the best val/loss."


def step_name(step: int) -> str:
    """The folder name of the checkpoint after `step` updates."""
    return f"step-{step:08d}"


def entry(file: HashedFile) -> dict[str, Any]:
    """What the manifest says of a file that was written."""
    return {"size": file.size, "sha256": file.sha256}


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints in a `checkpoints/` folder, newest first."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-[0-9]{8,18}", path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)
