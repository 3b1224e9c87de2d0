"""Build a model before its weights are there."""

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def without_weights() -> TorchFunctionMode:
    """Within the context, new weights have shapes but neither memory nor first values; buffers are computed.

    `torch.device("meta")` does that, too, but position tables made there cost an import of torch's compiler.
    """
    return _WithoutWeights()


class _WithoutWeights(TorchFunctionMode):
    """Skips initialisers, and makes empty tensors, ones and zeros without memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **{**kwargs, "device": "meta"} if func in (torch.empty, torch.ones, torch.zeros) else kwargs)
