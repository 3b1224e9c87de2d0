"""A trained model with its tokenizer, for notebooks and commands. Imports only torch; `plot` imports matplotlib."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from microgpt.data.tokenizer import Tokenizer
from microgpt.engine.machine import device as machine
from microgpt.engine.store.metrics_file import frame, read_columns, read_curves
from microgpt.engine.store.run_folder import RunDir, run_title
from microgpt.engine.trained.metrics import Metric
from microgpt.engine.trained.model_folder import model_folder, read_folder
from microgpt.engine.trained.sample import GenerationParams, generate_texts, pieces
from microgpt.errors import UsageError
from microgpt.model import GPT, GPTConfig, save_model
from microgpt.model.kernels.int8 import quantize
from microgpt.text import count_text

if TYPE_CHECKING:
    from microgpt.engine.trained.evaluate import Score
    from microgpt.inspect.trace import Trace

log = logging.getLogger("microgpt")
WEIGHTS = ("stored", "int8")
"""The ways to compute with a trained model's weights."""


@dataclass(repr=False, eq=False)
class Run:
    """A trained model, its tokenizer and its summary; `load` and `train` return it."""

    path: Path
    "The run folder, or the loaded model folder."
    model: GPT
    tokenizer: Tokenizer
    summary: dict[str, Any] = field(default_factory=dict)
    "The content of summary.json; empty if there is none."

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}: {', '.join(f'{value} {name}'.strip() for name, value in facts(self))})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts(self))
        return f"<table><caption>Run <code>{escape(str(self.path))}</code></caption>{rows}</table>"

    @property
    def config(self) -> GPTConfig:
        """The model's configuration."""
        return self.model.config

    @property
    def metrics(self) -> Any:
        """The logged metrics, a row per logged step: a pandas DataFrame, or columns where pandas is not installed."""
        return frame(read_columns(RunDir(self.folder).metrics))

    @property
    def folder(self) -> Path:
        """The run folder: `path`, or the folder around it if `path` is a run's `model/`."""
        return self.path.parent if self.path.name == "model" else self.path

    def plot(self, theme: Literal["light", "dark"] = "light") -> Any:
        """Plot the losses of training and validation: a matplotlib figure, which a notebook shows."""
        from microgpt.engine.trained.figures import learning_curves

        curves = read_curves(RunDir(self.folder).metrics)
        return learning_curves(curves, run_title(self.folder), self.summary.get("baselines"), theme)

    def save(self, folder: str | Path) -> Path:
        """Copy the model, configuration, metrics and summary into a new folder, which `load` reads; returns it.

        Raises:
            UsageError: the folder is not empty.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise UsageError("the folder is not empty", str(folder), "name a new one")
        save_model(folder / "model", self.model, self.tokenizer.to_dict())
        here, there = RunDir(self.folder), RunDir(folder)
        for old, new in ((here.config, there.config), (here.metrics, there.metrics)):
            if old.is_file():
                shutil.copyfile(old, new)
        if self.summary:
            there.write_summary(self.summary)
        return folder

    def generate(  # noqa: PLR0913 - settings by name, as a notebook gives them
        self,
        prompt: str = "",
        *,
        max_new_tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        stop: Sequence[str] = (),
        stop_at_end: bool = True,
        seed: int | None = None,
        generator: Literal["torch", "counter"] = "torch",
        compile: bool = False,
        on_text: Callable[[str], None] | None = None,
    ) -> str:
        """Continue a prompt; returns the text with the prompt before it.

        Args:
            max_new_tokens: the most tokens to add.
            temperature: divides the logits; 0 always takes the likeliest token.
            top_k: choose among this many likeliest tokens.
            top_p: choose among the likeliest tokens that hold this share of the probability.
            min_p: choose among tokens at least this share as likely as the likeliest.
            stop: end just before the first of these texts.
            stop_at_end: end at the model's end token, if it has one.
            seed: the same seed gives the same text.
            generator: counter draws the random numbers of a run's page, so that both write the same text.
            compile: compile the step first; pays off for long texts.
            on_text: called with each new piece of text, the prompt first.

        Raises:
            DataError: the tokenizer does not know a character.
            UsageError: a setting is invalid.
            MachineError: torch cannot compile.
        """
        params = GenerationParams(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            stop=stop, stop_at_end=stop_at_end, seed=seed, generator=generator, compile=compile,
        )  # fmt: skip
        return generate_texts(self.model, self.tokenizer, prompt, params, on_text)[0]

    def stream(self, prompt: str = "", **settings: Any) -> Iterator[str]:
        """Continue a prompt piece by piece, the prompt first: `for piece in run.stream("Once"): print(piece, end="")`.

        Args:
            settings: as for `generate`.

        Raises:
            DataError, UsageError, MachineError: as `generate`.
        """
        return pieces(self.model, self.tokenizer, prompt, GenerationParams(**settings), [])

    def evaluate(
        self,
        text: str | Path | None = None,
        *,
        split: str = "val",
        protocol: str = "blocks",
        batch_size: int | None = None,
    ) -> "Score":
        """Score the model on a text, or on a split of the corpus that it was trained on; deterministic.

        Args:
            text: a text, or the path of one, whose unknown characters are left out; default: the training corpus.
            split: of the training corpus: "train", "val" or "test".
            protocol: "blocks", "sliding", "random" or one of your own.
            batch_size: windows per forward pass; default: about 16,000 tokens.

        Returns:
            The figures by name: `score.loss` in nats per token, `score.bpc`, `score.loss_by_position`.

        Raises:
            CheckpointError: the folder does not record its training corpus.
            DataError: the corpus is not the one of training any more, the text is too short or has unknown characters.
            UsageError: there is no such split or protocol, or a model of documents is to score a text without bounds.
        """
        from microgpt.engine.trained.evaluate import score_text
        from microgpt.engine.trained.training_text import read_to_score

        encoded = read_to_score(text, split, self.folder, self.tokenizer)
        return score_text(self.model, encoded, protocol=protocol, batch_size=batch_size)

    def inspect(self, text: str) -> "Trace":
        """Run the model over a text and keep every activation by name: see `microgpt.inspect`.

        Raises:
            DataError: the tokenizer does not know a character.
            UsageError: the text is empty or longer than the context.
            NonFiniteError: the model's logits are not finite.
        """
        from microgpt.inspect.trace import inspect_text

        return inspect_text(self.model, self.tokenizer, text)


def facts(run: Run) -> list[tuple[str, str]]:
    """What a person wants to know of a run at a glance: (name, value), the name empty where the value says it."""
    found = [("parameters", count_text(run.model.num_params()))]
    found += [("steps", f"{run.summary['step']:,}")] if "step" in run.summary else []
    shown = {f"val/{metric.name}": metric for metric in Metric.members.values() if metric.headline}
    found += [(key, format(run.summary[key], metric.format)) for key, metric in shown.items() if key in run.summary]
    return [*found, ("positions", run.config.pos.name), ("tokens", f"{run.tokenizer.vocab_size:,}")]


def load(path: str | Path, device: str = "cpu", weights: str = "stored") -> Run:
    """Load a model from a run folder, its `model/` folder, or a folder with an exported model.

    Loading runs no code from the folder: it reads safetensors and JSON, checked before memory is allocated.

    Args:
        weights: "stored" computes with the weights as they are stored; "int8" generates from large models faster on
            x86 CPUs, with a slightly larger loss: see `microgpt.model.kernels.int8`. Such a model cannot be trained.

    Raises:
        CheckpointError: the model is missing or damaged.
        MachineError: the machine has no int8 products.
        UsageError: `weights` is neither.
    """
    if weights not in WEIGHTS:
        raise UsageError(f"no weights {weights!r}", "weights", f"take {' or '.join(WEIGHTS)}")
    folder = model_folder(Path(path))
    model, tokenizer = read_folder(folder, device)
    if slow := machine.emulation_warning(torch.device(device).type, model.wte.weight.dtype):
        log.warning("warning: %s; run.model.float() makes the model a float32 one", slow)
    if weights == "int8":
        quantize(model)
    run_dir = RunDir(folder.parent if folder.name == "model" else folder)
    return Run(Path(path), model, tokenizer, run_dir.read_summary() or {})
