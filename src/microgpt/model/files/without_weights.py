"""Build a model without allocating its weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def without_weights() -> TorchFunctionMode:
    """Within the context, new weights have shapes but no memory and no initial values; buffers are computed.

    `torch.device("meta")` does the same, but making position tables there imports torch's compiler.
    """
    return _WithoutWeights()


class _WithoutWeights(TorchFunctionMode):
    """Skips initialisers, and makes torch.empty, ones and zeros allocate nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **{**kwargs, "device": "meta"} if func in (torch.empty, torch.ones, torch.zeros) else kwargs)
