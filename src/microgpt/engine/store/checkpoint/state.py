"""Convert a nested training state to tensors and JSON, and back. Without pickle, reading can never run code.

One mapping holds the tensors under numbered names. JSON holds the rest: `{"tensor": name}` stands for a tensor,
`{"tuple": [...]}` for a tuple and `{"items": [[key, value], ...]}` for a dict, whose keys need not be strings.
"""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from microgpt.files import parse_object

Scalar = str | int | float | bool | None


def flatten(state: Any) -> tuple[str, dict[str, Tensor]]:
    """Split a state of dicts, lists, tuples, scalars and tensors into JSON text and named tensors.

    Raises:
        TypeError: a value has another type; the error names its path.
    """
    tensors: dict[str, Tensor] = {}

    def encode(value: Any, path: str) -> Any:
        if isinstance(value, Tensor):
            name = f"{len(tensors):06d}"
            tensors[name] = value.detach().contiguous()
            return {"tensor": name}
        if isinstance(value, (str, int, float, bool)) or value is None:
            return value
        if isinstance(value, list):
            return [encode(item, f"{path}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [encode(item, f"{path}[{i}]") for i, item in enumerate(value)]}
        if isinstance(value, Mapping):
            return {"items": [[encode(key, path), encode(item, f"{path}.{key}")] for key, item in value.items()]}
        raise TypeError(f"{path or 'state'} is a {type(value).__name__}, which a checkpoint cannot hold")

    return json.dumps(encode(state, "")), tensors


def unflatten(text: bytes, tensors: Mapping[str, Tensor]) -> Any:
    """Rebuild the state that `flatten` split.

    Raises:
        ValueError: the JSON describes no state.
    """

    def decode(value: Any) -> Any:
        if isinstance(value, list):
            return [decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        match value:
            case {"tensor": str(name)} if name in tensors and len(value) == 1:
                return tensors[name]
            case {"tuple": list(items)} if len(value) == 1:
                return tuple(decode(item) for item in items)
            case {"items": list(items)} if len(value) == 1 and all(_is_pair(item) for item in items):
                return {_key(decode(key)): decode(item) for key, item in items}
        raise ValueError(f"unexpected keys {sorted(value)[:4]}")

    return decode(parse_object(text, allow_nan=True))


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2


def _key(value: Any) -> Scalar | tuple[Scalar, ...]:
    if isinstance(value, (str, int, float, bool, tuple)) or value is None:
        return value
    raise ValueError("a key that is no scalar")
