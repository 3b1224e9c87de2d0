"""The operations that the page's reader of graphs knows."""

from typing import Any

from microgpt.engine.exchange.graph import operations
from microgpt.errors import UsageError

KNOWN = frozenset(
    """
    view _unsafe_view reshape alias detach clone lift_fresh_copy unsqueeze squeeze permute transpose expand slice select
    split_with_sizes unfold getitem
    add sub rsub mul div pow maximum minimum remainder fmod atan2 gt ge lt le eq ne logical_and logical_or bitwise_and
    bitwise_or neg abs exp log sqrt log1p expm1 log2 rsqrt reciprocal sin cos tanh sigmoid relu erf sign floor ceil
    trunc logical_not bitwise_not gelu silu leaky_relu elu hardtanh clamp clamp_min clamp_max _to_copy where
    sum mean var amax amin prod any _softmax _log_softmax cumsum native_layer_norm
    linear bmm mm addmm embedding index_select index index_put cat constant_pad_nd flip
    arange full full_like scalar_tensor
    """.split()
)
"The keys of `OPS` in graph.js; a test compares them."


def check_operations(description: dict[str, Any]) -> None:
    """Refuse a model with an operation that the page's reader does not have.

    Raises:
        UsageError: names the operations.
    """
    unknown = sorted(operations([description["graph"], description["lens"]]) - KNOWN)
    if unknown:
        what = f"the model computes with {', '.join(unknown)}, which the page's reader does not have"
        raise UsageError(what, "--format html", "write your own part with other operations, or add these to graph.js")
