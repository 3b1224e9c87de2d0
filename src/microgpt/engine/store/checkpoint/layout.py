"""Names of checkpoint folders and files, and how often to save.

checkpoints/step-00001000/
    weights.safetensors     the model's weights
    state.safetensors       all other tensors: optimizer, averages, random states
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
"The files listed in the manifest."


class CheckpointConfig(Config):
    """How often to save checkpoints, and how many to keep."""

    every_n_steps: Count = 500
    "Steps between checkpoints; the last step is always saved."
    keep: Count = 2
    "Number of newest checkpoints to keep, besides the one with the best val/loss."


def step_name(step: int) -> str:
    """Name the folder of the checkpoint after `step` updates."""
    return f"step-{step:08d}"


def entry(file: HashedFile) -> dict[str, Any]:
    """Make the manifest's entry for a written file."""
    return {"size": file.size, "sha256": file.sha256}


def checkpoints(folder: Path) -> list[Path]:
    """List the complete checkpoints in a `checkpoints/` folder, newest first."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-[0-9]{8,18}", path.name)]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)
