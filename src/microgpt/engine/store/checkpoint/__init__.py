"""Checkpoint folders: written whole, verified by manifest; the newest that verifies is resumed.

A checkpoint is `step-00001000/` with weights and optimizer state as safetensors, the rest as JSON, and a manifest with
the size and SHA-256 of each file. It is written under a hidden name in the same folder, flushed to disk and renamed: a
folder under a final name is whole, whenever the process was killed. Reading believes nothing: a checkpoint may come
from anyone. Needs torch and safetensors alone.

    layout      names, and what lies where          writing     write, prune, remove
    verifying   manifest, checksums, newest good    reading     weights and state
    tensors     safetensors as a stream             state       nested state as tensors and JSON
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
