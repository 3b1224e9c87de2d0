"""Figures of one run: learning curves, loss by position, attention. Drawing one imports matplotlib."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from microgpt.engine.store.metrics_file import Curve
from microgpt.engine.trained.drawing import (
    COLOURS,
    PAPER,
    Theme,
    after_the_start,
    draw_baselines,
    draw_legend,
    drawable,
    inked,
    new_figure,
    smoothed,
    token_label,
)
from microgpt.engine.trained.evaluate import Score
from microgpt.model import GPT

SHOWN_TOKENS = 24
HEADS, LAYERS = 6, 6
"""Most attention maps in a row and in a column: more would be too small to read."""
NATS = "loss (nats per token)"


def learning_curves(
    curves: Mapping[str, Curve], name: str = "", baselines: Mapping[str, float] | None = None, theme: Theme = "light"
) -> Any:
    """Plot the training and validation loss by step.

    Args:
        curves: column of metrics.csv -> points.
        name: of the run, for the title.
        baselines: n-gram baselines in nats per token, drawn as lines.
    """
    figure, axes = new_figure(7, 4.2, theme)
    draw_losses(axes, curves, baselines or {}, theme)
    axes.set_title(drawable(name), fontsize=10)
    return inked(figure, theme)


def draw_losses(axes: Any, curves: Mapping[str, Curve], baselines: Mapping[str, float], theme: Theme) -> None:
    """Draw the losses of training (points and their mean) and validation, the best score, and the baselines."""
    train, val = curves.get("train/loss", []), curves.get("val/loss", [])
    seen = [y for curve in (train, val) if curve for y in after_the_start(curve)]
    if train:
        x, y = zip(*train, strict=True)
        span = max(1, len(train) // 25)
        dots = {"alpha": 0.35, "linestyle": "none"} if span > 1 else {"linewidth": 1.3}
        axes.plot(x, y, marker=".", color=COLOURS[0], markersize=3, label=f"training, {len(train)} batches", **dots)
        if span > 1:
            axes.plot(x, smoothed(y, span), "-", color=COLOURS[0], linewidth=1.3, label=f"training, mean of {span}")
    if val:
        x, y = zip(*val, strict=True)
        axes.plot(x, y, "--s", color=COLOURS[1], linewidth=1.5, markersize=4, label=f"validation, n = {len(val)}")
        best_step, best = min(val, key=lambda point: point[1])
        axes.plot([best_step], [best], "*", color=COLOURS[1], markersize=13, markeredgecolor=PAPER[theme][1],
                  label=f"best: {best:.4f} at step {best_step:.0f}")  # fmt: skip
    if seen:
        draw_baselines(axes, seen, baselines, theme)
        draw_legend(axes)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(NATS)


def loss_by_position(score: Score, theme: Theme = "light") -> Any:
    """Plot the loss at each position of the context, to show how much context helps."""
    figure, axes = new_figure(6.5, 3.8, theme)
    draw_positions(axes, score)
    return inked(figure, theme)


def draw_positions(axes: Any, score: Score) -> None:
    """Draw the mean loss by position with the 95 % interval of the mean."""
    losses, errors = score.loss_by_position, score.position_errors
    known = [i for i, loss in enumerate(losses) if not math.isnan(loss)]
    x, y = [i + 1 for i in known], [losses[i] for i in known]
    spread = [1.96 * errors[i] for i in known] if errors else [0.0] * len(known)
    axes.fill_between(x, [a - b for a, b in zip(y, spread, strict=True)],
                      [a + b for a, b in zip(y, spread, strict=True)], color=COLOURS[0], alpha=0.25, linewidth=0,
                      label="95 % interval of the mean")  # fmt: skip
    axes.plot(x, y, "-", color=COLOURS[0], marker="." if len(x) <= 64 else None, label="mean loss")
    axes.axhline(score.loss, color=COLOURS[1], linestyle="--", linewidth=1, label=f"all positions: {score.loss:.3f}")
    axes.set_xlabel("position in the context (tokens)")
    axes.set_ylabel(NATS)
    axes.set_title(f"loss by position, protocol {score.protocol}, n = {score.tokens:,} tokens", fontsize=9)
    draw_legend(axes)


def report(
    curves: Mapping[str, Curve], baselines: Mapping[str, float], score: Score | None, name: str, theme: Theme = "light"
) -> Any:
    """A run in one picture: its losses, the loss by position, the learning rate and the speed."""
    figure, panels = new_figure(11, 7, theme, (2, 2))
    (losses, positions), (rate, speed) = panels
    draw_losses(losses, curves, baselines, theme)
    losses.set_title("loss by step", fontsize=9)
    if score is not None:
        draw_positions(positions, score)
    else:
        positions.set_title("no evaluation", fontsize=9)
    for axes, key, label in ((rate, "lr", "learning rate"), (speed, "perf/tokens_per_second", "tokens per second")):
        points = curves.get(key, [])
        axes.plot([x for x, _ in points], [y for _, y in points], "-", color=COLOURS[2])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("optimizer step")
        axes.set_ylabel(label)
        axes.set_title(f"{label}, n = {len(points)} logged steps", fontsize=9)
    figure.suptitle(drawable(name), fontsize=11)
    return inked(figure, theme)


@torch.no_grad()
def attention_maps(model: GPT, ids: Tensor, labels: Sequence[str], theme: Theme = "light") -> Any:
    """Plot which token looks where: a map for each layer (row) and head (column), each with its own scale.

    Args:
        ids: (T,) tokens; the first 24 are shown.
        labels: the text of each token.
    """
    was_training = model.training
    model.eval()
    T = min(SHOWN_TOKENS, len(ids), model.config.block_size)
    _, _, attention = model(ids[None, :T].to(next(model.parameters()).device), return_attention=True)
    model.train(was_training)
    heads, layers = min(HEADS, model.config.n_head), min(LAYERS, model.config.n_layer)
    maps = torch.stack([layer[0, :heads] for layer in attention[:layers]]).float().cpu()  # (layers, heads, T, T)
    most = maps[..., T // 4 :, :].amax((-2, -1))  # the first tokens see few others, so that their weights are large
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    scaled = (maps / most[..., None, None]).clamp(max=1).masked_fill(future, math.nan)
    # Draw all maps as one image: separate axes would take most of a second.
    tiles = F.pad(scaled, (0, 1, 0, 3), value=math.nan)  # room for a title below the map above
    height, width = T + 3, T + 1
    mosaic = tiles.permute(0, 2, 1, 3).reshape(layers * height, heads * width)[: layers * height - 3]
    figure, axes = new_figure(0.6 + 0.092 * heads * width + 0.9, 0.9 + 0.092 * layers * height, theme)
    colours = {"light": "Blues", "dark": "cividis"}[theme]
    image = axes.imshow(mosaic.numpy(), vmin=0, vmax=1, cmap=colours, interpolation="nearest")
    axes.grid(visible=False)
    names = [token_label(label) for label in labels[:T]]
    small = {"fontsize": 5.5, "family": "DejaVu Sans"}
    axes.set_yticks([layer * height + i for layer in range(layers) for i in range(T)], names * layers, **small)
    axes.set_xticks([head * width + i for head in range(heads) for i in range(T)], names * heads, rotation=90, **small)
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    for layer in range(layers):
        for head in range(heads):
            title = f"layer {layer} head {head}, largest {most[layer, head]:.2f}"
            axes.text(head * width + T - 1, layer * height - 1, title, fontsize=6.5, ha="right", va="bottom")
    axes.set_ylim(axes.get_ylim()[0], -3)
    axes.set_ylabel("this token ...", fontsize=8)
    axes.set_xlabel("... looks at this one", fontsize=8)
    bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01, aspect=40)
    bar.set_label("attention, as a share of the head's largest", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    shown = f"{heads} of {model.config.n_head} heads, {layers} of {model.config.n_layer} layers"
    axes.set_title(f"attention: {shown}, {T} tokens", fontsize=8)
    return inked(figure, theme)


def lr_search(lrs: Sequence[float], losses: Sequence[float], chosen: float, theme: Theme = "light") -> Any:
    """Plot the loss against the growing learning rate, and mark the chosen rate."""
    figure, axes = new_figure(6, 3.5, theme)
    axes.plot(lrs, losses, "-", marker=".", color=COLOURS[0], label=f"training loss, {len(lrs)} steps")
    axes.axvline(chosen, color=COLOURS[1], linestyle="--", label=f"chosen, where it falls fastest: {chosen:.3g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel(NATS)
    axes.set_title("search for the learning rate", fontsize=9)
    draw_legend(axes, 8)
    return inked(figure, theme)
