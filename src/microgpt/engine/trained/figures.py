"""Figures for TensorBoard: attention maps and the loss by position. Drawing one imports matplotlib."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from microgpt.engine.process.drawing import agg_figure
from microgpt.model import GPT
from microgpt.text import drawable

SHOWN_TOKENS = 32


def loss_by_position(losses: Sequence[float]) -> Any:
    """Plot the loss at each position of the context, to show how much context helps."""
    figure, axes = new_figure(6, 3.5)
    axes.plot(range(1, len(losses) + 1), losses, marker="." if len(losses) <= 64 else None)
    axes.set_xlabel("position in the context")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.3)
    return figure


@torch.no_grad()
def attention_maps(model: GPT, ids: Tensor, labels: Sequence[str]) -> Any:
    """Plot the attention of each layer (row) and head (column) over a short text.

    Args:
        ids: (T,) tokens; the first 32 are shown.
        labels: the name of each token on the axes.
    """
    was_training = model.training
    model.eval()
    T = min(SHOWN_TOKENS, len(ids), model.config.block_size)
    _, _, attention = model(ids[None, :T].to(next(model.parameters()).device), return_attention=True)
    model.train(was_training)
    heads = min(8, model.config.n_head)
    layers = min(12, model.config.n_layer)
    # Draw all maps as one image: separate axes would take most of a second.
    maps = torch.stack([layer[0, :heads] for layer in attention[:layers]]).float()  # (layers, heads, T, T)
    tiles = F.pad(maps, (0, 1, 0, 1), value=math.nan)  # a white line between maps
    mosaic = tiles.permute(0, 2, 1, 3).reshape(layers * (T + 1), heads * (T + 1))
    figure, axes = new_figure(1.4 * heads + 0.6, 1.4 * layers + 0.6)
    axes.imshow(mosaic.cpu().numpy(), vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    middles = [(T - 1) / 2 + i * (T + 1) for i in range(max(heads, layers))]
    axes.set_xticks(middles[:heads], [f"head {i}" for i in range(heads)], fontsize=8)
    axes.set_yticks(middles[:layers], [f"layer {i}" for i in range(layers)], fontsize=8, rotation=90, va="center")
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(drawable("".join(labels[:T])), fontsize=7, family="monospace", parse_math=False)
    return figure


def lr_search(lrs: Sequence[float], losses: Sequence[float], chosen: float) -> Any:
    """Plot the loss against the growing learning rate, and mark the chosen rate."""
    figure, axes = new_figure(6, 3.5)
    axes.plot(lrs, losses)
    axes.axvline(chosen, color="tab:red", linestyle="--", label=f"chosen: {chosen:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """Make a matplotlib figure and its axes without touching pyplot's state."""
    figure = agg_figure(width, height, layout="constrained")
    return figure, figure.subplots()
