"""A trained model with its tokenizer, for notebooks and commands. Imports only torch."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from microgpt.data.tokenizer import HFTokenizer, Tokenizer, tokenizer_from_dict
from microgpt.engine.machine import device as machine
from microgpt.engine.store.checkpoint import checkpoints
from microgpt.engine.store.run_folder import RunDir
from microgpt.engine.trained.sample import GenerationParams, generate_texts
from microgpt.errors import CheckpointError, UsageError
from microgpt.foreign import refuse_foreign
from microgpt.model import GPT, GPTConfig
from microgpt.model.files import hf
from microgpt.model.files.folder import TOKENIZER, load_model
from microgpt.model.files.hf.end_tokens import end_tokens
from microgpt.model.kernels.int8 import quantize

if TYPE_CHECKING:
    from microgpt.inspect.trace import Trace

log = logging.getLogger("microgpt")
WEIGHTS = ("stored", "int8")
"""The ways to compute with a trained model's weights."""


@dataclass
class Run:
    """A trained model, its tokenizer and its summary; `load` and `train` return it."""

    path: Path
    "The run folder, or the loaded model folder."
    model: GPT
    tokenizer: Tokenizer
    summary: dict[str, Any] = field(default_factory=dict)
    "The content of summary.json; empty if there is none."

    @property
    def config(self) -> GPTConfig:
        """The model's configuration."""
        return self.model.config

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
        compile: bool = False,
        on_text: Callable[[str], None] | None = None,
    ) -> str:
        """Continue a prompt; returns the text with the prompt before it.

        Args:
            max_new_tokens, temperature, top_k, top_p, min_p, stop, stop_at_end, seed, compile: as in
                `microgpt.engine.trained.sample.GenerationParams`.
            on_text: called with each new piece of text, the prompt first.

        Raises:
            DataError: the tokenizer does not know a character.
            UsageError: a setting is invalid.
            MachineError: torch cannot compile.
        """
        params = GenerationParams(
            max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
            stop=stop, stop_at_end=stop_at_end, seed=seed, compile=compile,
        )  # fmt: skip
        return generate_texts(self.model, self.tokenizer, prompt, params, on_text)[0]

    def inspect(self, text: str) -> "Trace":
        """Run the model over a text and keep every activation by name: see `microgpt.inspect`.

        Raises:
            DataError: the tokenizer does not know a character.
            UsageError: the text is empty or longer than the context.
            NonFiniteError: the model's logits are not finite.
        """
        from microgpt.inspect.trace import inspect_text

        return inspect_text(self.model, self.tokenizer, text)


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


def read_folder(folder: Path, device: str = "cpu") -> tuple[GPT, Tokenizer]:
    """Read the model, in eval mode, and the tokenizer of a folder in our format or Hugging Face's.

    Raises:
        CheckpointError: either is missing or damaged, they do not match, or our parts cannot express the model.
        MachineError: the tokenizer needs a package that is not installed.
    """
    if hf.is_ours(folder):
        model, values, _ = load_model(folder, device)
        tokenizer = tokenizer_from_dict(values)
        if tokenizer.vocab_size != model.vocab_size:
            what = f"a tokenizer of {tokenizer.vocab_size} tokens for a model of {model.vocab_size}"
            raise CheckpointError(what, str(folder), "copy the folder again, or train anew")
        return model, tokenizer
    model = hf.read_model(folder).to(device)
    tokenizer = HFTokenizer.from_file(folder / TOKENIZER, model.vocab_size)
    return model, tokenizer.with_ends(end_tokens(folder, model.vocab_size))


def model_folder(path: Path) -> Path:
    """The folder under `path` that holds config.json and the weights.

    Raises:
        CheckpointError: there is none; the error says what is there.
    """
    for folder in (path / "model", path):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        parent = path.parent if path.parent.is_dir() else Path()
        near = sorted(p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))[-3:]
        fix = f"{parent}/ has {', '.join(near)}" if near else "train one first: microgpt-train"
        raise CheckpointError(f"no such run {str(path)!r}", "", fix)
    if checkpoints(path / "checkpoints"):
        fix = "give its training command again: it makes the model from the checkpoint, or trains until it has one"
        raise CheckpointError("no model/ folder beside the checkpoints", str(path), fix)
    if (path / "checkpoints").is_dir() or (path / "config.yaml").is_file():
        fix = f"let it train until its first evaluation: microgpt-train hydra.run.dir={path}"
        raise CheckpointError("the run has saved no model yet", str(path), fix)
    refuse_foreign(path)
    raise CheckpointError("no model", str(path), "name a run folder, its model/ folder or an exported model")
