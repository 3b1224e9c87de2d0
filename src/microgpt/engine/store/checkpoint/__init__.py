"""Checkpoint folders, written whole and verified by manifest. A run resumes the newest valid one.

A checkpoint is a folder such as `step-00001000/`: weights and optimizer state as safetensors, the rest as JSON, and a
manifest with the size and SHA-256 of each file. The writer uses a hidden name in the same folder, flushes to disk and
renames. A folder under its final name is therefore whole, whenever the process was killed. The reader trusts nothing,
since a checkpoint may come from anyone. Imports torch and safetensors alone.

    layout      names of folders and files          writing     write, prune, remove
    verifying   manifest, checksums, newest good    reading     weights and state
    tensors     write safetensors as a stream       state       nested state as tensors and JSON
"""

from microgpt.engine.store.checkpoint.layout import (
    FILES,
    MANIFEST,
    STATE,
    TENSORS,
    WEIGHTS,
    CheckpointConfig,
    checkpoints,
    step_name,
)
from microgpt.engine.store.checkpoint.reading import read
from microgpt.engine.store.checkpoint.verifying import damaged, manifest, newest_valid, set_aside, verify
from microgpt.engine.store.checkpoint.writing import clean, prune, remove, write

__all__ = [
    "FILES",
    "MANIFEST",
    "STATE",
    "TENSORS",
    "WEIGHTS",
    "CheckpointConfig",
    "checkpoints",
    "clean",
    "damaged",
    "manifest",
    "newest_valid",
    "prune",
    "read",
    "remove",
    "set_aside",
    "step_name",
    "verify",
    "write",
]
