"""Write safetensors one tensor at a time, hashing while writing.

Format: https://github.com/huggingface/safetensors. The library's own writer holds all tensors in memory and hides its
writes. This one writes from Python, so a test can make each write fail, and the hash covers the intended bytes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microgpt.engine.store.checkpoint.layout import entry
from microgpt.files import HashedFile

NAMES = {
    torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write named tensors to a new file and flush it to disk; return its entry in the manifest.

    Raises:
        OSError: the disk is full or refuses.
        TypeError: a tensor has a dtype that the file cannot hold.
    """
    header: dict[str, Any] = {}
    # Wide types come first. Each tensor then starts at a multiple of its width, and readers rely on that.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in NAMES:
            raise TypeError(f"{name} is of type {tensor.dtype}, which a checkpoint cannot hold")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with HashedFile(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in order:
            data = tensors[name].detach().reshape(-1).cpu().contiguous()
            file.write(data.view(torch.uint8).numpy().data)
    return entry(file)
