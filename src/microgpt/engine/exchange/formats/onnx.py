"""An ONNX model of the step that generates one token, for onnxruntime and what builds on it."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from microgpt.engine.exchange.card import FACTS, PROMPTS, corpus_name, sample, scores, table
from microgpt.engine.exchange.check import compare_logits
from microgpt.engine.exchange.formats.base import ExportFormat
from microgpt.engine.exchange.one_token import Layers, OneToken, exported, stored_copy
from microgpt.engine.trained.run import Run
from microgpt.errors import CheckpointError, UsageError
from microgpt.extras import package
from microgpt.model.kernels import torch_private
from microgpt.text import one_line

FILE = "model.onnx"
CARD = """
# {name}

A GPT of {params:,} parameters, trained with microgpt on {text}. `model.onnx` reads one token per call:

| input | | output | |
|---|---|---|---|
| `token` | int64 (B, 1) | `logits` | float32 (B, {vocabulary}), for the next token |
| `place` | int64 scalar: tokens read before, at most {last} | | |
{rows}

Begin with zeros in every `past`, and give each `present` as the next call's `past`. B is free. A text longer than
{context} tokens begins again with its latest part.

```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
past = {{i.name: np.zeros([1, *i.shape[1:]], {{"tensor(float)": "f4"}}.get(i.type, "i8"))
        for i in session.get_inputs() if i.name.startswith("past")}}
for place, token in enumerate([0, 1, 2]):
    logits, *present = session.run(None, {{"token": np.array([[token]]), "place": np.array(place), **past}})
    past = dict(zip(past, present))
```

onnxruntime {version} opened it; the largest difference of a logit from the original's is {difference:.3g}.

## Scores

{scores}
Losses are in nats per token, `bpc` and `bpb` in bits per character and per byte of UTF-8.

## Samples

{samples}
"""


class ONNXFormat(ExportFormat, name="onnx"):
    """A folder with an ONNX model that reads a token per call, with its key-value cache, and a model card."""

    def check_run(self, run: Run) -> None:
        package("onnxscript", "onnx", "this format", "--format onnx")
        package("onnxruntime", "onnx", "this format", "--format onnx")

    def write(self, run: Run, folder: Path) -> float:
        step = OneStep(stored_copy(run.model))
        convert(step, folder / FILE)
        version, logits = reopened(folder / FILE, step)
        difference = compare_logits(run.model, logits)
        (folder / "README.md").write_text(card(run, step, version, difference), encoding="utf-8")
        if (described := tokenizer_json(run)) is not None:
            (folder / "tokenizer.json").write_text(described, encoding="utf-8")
        return difference

    def next_step(self, out: Path) -> str:
        return f'onnxruntime.InferenceSession("{out}/{FILE}"), or see {out}/README.md'


class OneStep(nn.Module):
    """`OneToken` with all heads on and nothing to look at: logits and the cache alone."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.step = OneToken(model)
        self.register_buffer("heads", self.step.example()["heads"], persistent=False)

    def forward(self, token: Tensor, place: Tensor, layers: Layers, recent: Tensor | None = None) -> list[Tensor]:
        """As `OneToken.forward`: the logits, then each layer's keys and values, then `recent`."""
        assert isinstance(self.heads, Tensor)
        out = self.step(token, place, self.heads, layers, recent)
        return [
            out["logits"],
            *(x for layer in out["layers"] for x in layer),
            *([out["recent"]] if recent is not None else []),
        ]

    def example(self, batch: int) -> dict[str, Any]:
        """Arguments of `forward` for an empty cache."""
        return {name: value for name, value in self.step.example(batch).items() if name != "heads"}

    def caches(self) -> list[str]:
        """The names of the parts of the cache, in order."""
        layers = range(self.step.model.config.n_layer)
        names = [f"{layer}.{part}" for layer in layers for part in ("key", "value")]
        return [*names, *(["tokens"] if self.step.reach else [])]


def convert(step: OneStep, path: Path) -> None:
    """Write the step as ONNX, with a batch of any size.

    Raises:
        UsageError: a part of the model cannot be expressed.
    """
    given = step.example(2)
    batch = torch.export.Dim("batch")
    dynamic = torch_private.tree_map(lambda x: {0: batch} if x.dim() else None, given)
    program = exported(step, given, dynamic)
    caches = step.caches()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # onnxscript tells every step of its optimizer
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=["token", "place", *(f"past.{name}" for name in caches)],
                output_names=["logits", *(f"present.{name}" for name in caches)],
            )
            assert converted is not None
            converted.save(path)
    except Exception as error:  # the converter raises many kinds
        what = f"ONNX cannot express the model ({one_line(error, 200)})"
        raise UsageError(
            what, "--format onnx", "change the part of your own, or export with --format safetensors"
        ) from error
    finally:
        logging.disable(level)


def reopened(path: Path, step: OneStep) -> tuple[str, Callable[[Tensor], Tensor]]:
    """onnxruntime's version, and its logits (B, T, V) of tokens (B, T).

    Raises:
        CheckpointError: onnxruntime cannot open the file.
    """
    runtime = package("onnxruntime", "onnx", "this format", "--format onnx")
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CheckpointError(f"onnxruntime does not open it ({one_line(error, 200)})", str(path)) from error
    names = [f"past.{name}" for name in step.caches()]

    def logits(x: Tensor) -> Tensor:
        example = torch_private.tree_leaves(step.example(len(x)))[2:]
        past = dict(zip(names, (one.numpy() for one in example), strict=True))
        rows = []
        for place in range(x.shape[1]):
            token = x[:, place : place + 1].numpy()
            row, *present = session.run(None, {"token": token, "place": torch.tensor(place).numpy(), **past})
            rows.append(torch.from_numpy(row))
            past = dict(zip(names, present, strict=True))
        return torch.stack(rows, dim=1)

    return runtime.__version__, logits


def card(run: Run, step: OneStep, version: str, difference: float) -> str:
    """The folder's README.md."""
    shapes = [list(x.shape) for x in torch_private.tree_leaves(step.example(1))[2:]]
    kinds = ["int64" if name == "tokens" else "float32" for name in step.caches()]
    rows = [
        f"| `past.{name}` | {kind} (B, {', '.join(map(str, shape[1:]))}) | `present.{name}` | the same |"
        for name, kind, shape in zip(step.caches(), kinds, shapes, strict=True)
    ]
    return CARD.lstrip().format(
        name=run.path.resolve().name,
        params=run.model.num_params(),
        text=corpus_name(run.path),
        vocabulary=run.model.vocab_size,
        last=run.config.block_size - 1,
        context=run.config.block_size,
        rows="\n".join(rows),
        version=version,
        difference=difference,
        scores=table({key: run.summary[key] for key in (*scores(), *FACTS) if run.summary.get(key) is not None}),
        samples="\n".join(sample(run, prompt) for prompt in PROMPTS),
    )


def tokenizer_json(run: Run) -> str | None:
    """The tokenizer for the `tokenizers` library, if it can express it."""
    try:
        return run.tokenizer.tokenizer_json()
    except UsageError:
        return None
