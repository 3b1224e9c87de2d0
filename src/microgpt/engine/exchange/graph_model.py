"""A model as graphs and weights that need no Python: what a page holds, and the check that it is the same model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microgpt.engine.exchange import graph
from microgpt.engine.exchange.one_token import Lens, OneToken, exported, stored_copy
from microgpt.errors import CheckpointError
from microgpt.model import GPT
from microgpt.model.kernels import torch_private

TOLERANCE = 1e-4
"Largest accepted difference between the graph's logits and the rounded model's, as in `check.TOLERANCE`."


@dataclass(frozen=True)
class GraphModel:
    """Graphs as plain data for JSON, and the weights that they name.

    Attributes:
        description: `graph` (one token), `lens`, `tensors` and `size`.
        data: the weights, where `tensors` says.
        rounded: the model with the weights as they are stored.
    """

    description: dict[str, Any]
    data: bytes
    rounded: GPT


def to_graphs(model: GPT, weights: graph.Weights) -> GraphModel:
    """Export a model's step and its logit lens.

    Raises:
        UsageError: a part of the model cannot be exported.
    """
    rounded = rounded_copy(model, weights)
    step, lens = OneToken(rounded), Lens(rounded)
    step_graph, tensors = graph.to_graph(exported(step, step.example()))
    lens_graph, more = graph.to_graph(exported(lens, {"x": torch.zeros(1, 1, rounded.config.n_embd)}))
    stored = {name: graph.rounded(tensor, weights) for name, tensor in {**tensors, **more}.items()}
    table, data = graph.packed(stored)
    config = rounded.config
    size = {"context": config.block_size, "layers": config.n_layer, "headCount": config.n_head}
    description = {"graph": step_graph, "lens": lens_graph, "tensors": table, "size": size}
    return GraphModel(description, data, rounded)


def rounded_copy(model: GPT, weights: graph.Weights) -> GPT:
    """A float32 copy of a model with the weights that a page stores."""
    return stored_copy(model, lambda p: graph.restored(graph.rounded(p, weights)))


@torch.no_grad()
def check(model: GPT, rounded: GPT, logits: Callable[[Tensor], Tensor]) -> float:
    """Compare logits (1, T) -> (1, T, V) over random tokens that fill the context.

    Returns:
        The largest difference from the model before rounding.

    Raises:
        CheckpointError: they differ from the rounded model's by more than arithmetic explains.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(model.vocab_size, (1, model.config.block_size), generator=generator)  # (1, T)
    found, expected = logits(x), rounded(x)[0]
    difference = float((found - expected).abs().max())
    bound = TOLERANCE * max(1.0, float(expected.abs().max()))
    if not difference <= bound:
        what = f"the exported model's logits differ by {difference:.3g}, more than {bound:.3g}"
        raise CheckpointError(what, "the export", "nothing was written; report this with the model's config.json")
    whole = model(x.to(model.wte.weight.device))[0].float().cpu()
    return float((found - whole).abs().max()) if math.isfinite(difference) else difference


def reread_logits(description: dict[str, Any], data: bytes, model: GPT) -> Callable[[Tensor], Tensor]:
    """The logits (1, T, V) of tokens (1, T), from graphs and weights as a page holds them."""
    tensors, step = graph.unpacked(description["tensors"], data), description["graph"]
    names = list(step["inputs"])
    caches = [name for name in names if name.startswith("layers")]

    def logits(x: Tensor) -> Tensor:
        given = dict(zip(names, torch_private.tree_leaves(OneToken(model).example()), strict=True))
        rows = []
        for place in range(x.shape[1]):
            given |= {"token": x[:, place : place + 1], "place": torch.tensor(place)}
            out = graph.evaluate(step, tensors, given)
            rows.append(out["logits"])
            given |= dict(zip(caches, torch_private.tree_leaves(out["layers"]), strict=True))
            if "recent" in out:
                given["recent"] = out["recent"]
        return torch.stack(rows, dim=1)

    return logits
