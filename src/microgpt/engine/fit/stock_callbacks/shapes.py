"""Show the shape of every module's input, output and weights in one forward pass."""

import logging
from pathlib import Path
from typing import Any

from microgpt.engine.addons import CallbackConfig

log = logging.getLogger("microgpt")

WINDOWS = 2
"""Sequences in the forward pass; B in the table."""


class ShapesConfig(CallbackConfig, name="shapes"):
    """Prints a table as training begins, and writes it to `shapes.txt` in the run folder."""

    def build(self) -> Any:
        import lightning as L

        class Shapes(L.Callback):
            """Runs one forward pass before the first step; changes no weight and no random state."""

            def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
                text = "\n".join(table(pl_module.model))
                if trainer.is_global_zero:
                    log.info("%s", text)
                    Path(trainer.default_root_dir, "shapes.txt").write_text(text + "\n", encoding="utf-8")

        return Shapes()


def table(model: Any) -> list[str]:
    """A line for each module of a GPT in the order of its call: name, input, output, weights."""
    import torch

    rows: list[tuple[str, ...]] = [("module", "kind", "input", "output", "weights")]

    def hook(name: str) -> Any:
        def record(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            weights = "  ".join(f"{key} {shape(p)}" for key, p in module.named_parameters(recurse=False))
            rows.append((name, type(module).__name__, shapes(inputs), shapes(output), weights))

        return record

    handles = [module.register_forward_hook(hook(name or "GPT")) for name, module in model.named_modules()]
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        with torch.no_grad():
            model(torch.zeros(WINDOWS, model.config.block_size, dtype=torch.int64, device=device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    title = f"shapes of one forward pass, B = {WINDOWS} sequences, innermost modules first:"
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    )
    return [title, *(f"  {line.rstrip()}" for line in lines)]


def shapes(values: Any) -> str:
    """The shapes of the tensors among some values: `(2, 64, 128)`."""
    found = values if isinstance(values, (tuple, list)) else (values,)
    return " ".join(shape(value) for value in found if hasattr(value, "shape")) or "-"


def shape(tensor: Any) -> str:
    """A tensor's shape in brackets."""
    return f"({', '.join(map(str, tensor.shape))})"
