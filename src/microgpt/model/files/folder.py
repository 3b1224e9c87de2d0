"""Save and load a model as a folder of plain data: model.safetensors, config.json, tokenizer.json.

Loading never runs code, and allocates no weights until their names, shapes and types are known to match the config.
config.json holds a hash of each of the three files: a flipped byte is an error.

    {"format": 1, "model": {GPTConfig}, "vocab_size": 65, "weights_sha256": "...", "replaces_sha256": null,
     "tokenizer_sha256": "...", "config_sha256": "..."}

`replaces_sha256` is the hash of the weights that a save replaced: if the save is cut off at any moment, the config
still accepts the weights in the folder.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from microgpt.config import ConfigError
from microgpt.errors import CheckpointError, MachineError
from microgpt.files import replacing, sha256, sha256_of
from microgpt.model.config import GPTConfig
from microgpt.model.files.untrusted import TYPES, damaged, read_json, read_safetensors_header
from microgpt.model.files.without_weights import without_weights
from microgpt.model.gpt import GPT
from microgpt.model.mlp import MLPConfig
from microgpt.model.norm import NormConfig
from microgpt.model.pos import PositionConfig
from microgpt.text import one_line, shown

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
FORMAT = 1
KEYS = {"format", "model", "vocab_size", "weights_sha256", "replaces_sha256", "tokenizer_sha256", "config_sha256"}
TABLES_LIMIT = 64 << 20
"Most bytes of position tables that a small weights file may request."


def save_model(folder: str | Path, model: GPT, tokenizer: Mapping[str, Any]) -> None:
    """Write a model and its tokenizer's plain mapping into a folder, creating it when missing.

    Each file is written under a temporary name, flushed to disk and renamed; a folder that held a model has either the
    old or the new weights at every moment.

    Raises:
        MachineError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    with _as_machine_error(folder), contextlib.ExitStack() as files:
        folder.mkdir(parents=True, exist_ok=True)
        # The last file takes its name first: the config must precede the weights that it describes.
        hidden = {name: files.enter_context(replacing(folder / name)) for name in (WEIGHTS, CONFIG, TOKENIZER)}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, hidden[WEIGHTS], metadata={"format": "pt"})
        hidden[TOKENIZER].write_text(json.dumps(dict(tokenizer)), encoding="utf-8")
        hidden[WEIGHTS].chmod(
            hidden[TOKENIZER].stat().st_mode
        )  # safetensors makes files that only their owner can read
        config = {
            "format": FORMAT,
            "model": model.config.to_dict(),
            "vocab_size": model.vocab_size,
            "weights_sha256": sha256(hidden[WEIGHTS]),
            "replaces_sha256": sha256(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else None,
            "tokenizer_sha256": sha256(hidden[TOKENIZER]),
        }
        config["config_sha256"] = _digest(config)
        hidden[CONFIG].write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> tuple[GPT, dict[str, Any], dict[str, Any]]:
    """Load a folder's model, in eval mode and in the dtype of the saved weights.

    Returns:
        the model on `device`, the tokenizer's mapping, and the content of config.json.

    Raises:
        CheckpointError: a file is missing, damaged, too large, or does not fit the others.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError("no such folder", str(folder), "give the folder that holds config.json")
    config = read_json(folder / CONFIG, limit=1 << 18)
    architecture, vocab_size = _architecture(config, folder / CONFIG)
    tokenizer = read_json(folder / TOKENIZER, limit=1 << 25)
    if sha256(folder / TOKENIZER) != config["tokenizer_sha256"]:
        raise damaged(folder / TOKENIZER, "its sha256 is not the one in config.json")
    model = _skeleton(architecture, vocab_size, folder / WEIGHTS)
    if sha256(folder / WEIGHTS) not in (config["weights_sha256"], config["replaces_sha256"]):
        raise damaged(folder / WEIGHTS, "its sha256 is not the one in config.json")
    _fill(model, folder / WEIGHTS)
    return model.to(device).eval(), tokenizer, config


def _digest(config: Mapping[str, Any]) -> str:
    """The hash of config.json without its entry `config_sha256`."""
    rest = {key: value for key, value in config.items() if key != "config_sha256"}
    return sha256_of([json.dumps(rest, sort_keys=True).encode()])


def _architecture(config: Mapping[str, Any], path: Path) -> tuple[GPTConfig, int]:
    if config.get("format") != FORMAT:
        what = f"format {shown(config.get('format'))}, and this version reads {FORMAT}"
        raise CheckpointError(what, str(path), "it is no microgpt model, or one of another version")
    odd = sorted(KEYS ^ set(config))
    if odd:
        state = "is missing" if odd[0] in KEYS else "is unknown"
        raise damaged(path, f"the key {odd[0][:40]!r} {state}")
    vocab_size, model = config["vocab_size"], config["model"]
    if type(vocab_size) is not int or vocab_size < 1:
        raise damaged(path, f"vocab_size {shown(vocab_size)} is not a whole number above 0")
    if not isinstance(model, dict):
        raise damaged(path, "model is not a group of knobs")
    try:
        architecture = GPTConfig.from_dict(model)
    except ConfigError as error:
        fault = error.faults[0]
        if fault.what.startswith(tuple(f"no {family.family} " for family in (PositionConfig, NormConfig, MLPConfig))):
            fix = "import the file that defines it (--import FILE, or imports=[FILE] in training)"
            raise CheckpointError(one_line(f"model.{fault.path}: {fault.what} is known"), str(path), fix) from None
        raise damaged(path, f"model.{fault}") from None
    except (ArithmeticError, TypeError, ValueError) as error:
        raise damaged(path, f"model: {error}") from None
    if _digest(config) != config["config_sha256"]:
        fix = "copy the folder again; if you edited it, undo that: knobs of a trained model are what they are"
        raise CheckpointError("its content is not what was saved (config_sha256 differs)", str(path), fix)
    return architecture, vocab_size


def _skeleton(config: GPTConfig, vocab_size: int, path: Path) -> GPT:
    """The model without weights in memory, in the file's dtype, after checking that the file's weights fit it."""
    header, size = read_safetensors_header(path)
    # Before any module is built: a config that claims a billion layers must come with their weights.
    if 4 * config.n_layer > len(header) or vocab_size * config.n_embd > size:
        what = f"{len(header)} weights in {size:,} bytes cannot be"
        raise damaged(path, f"{what} {config.n_layer} layers of width {config.n_embd} for {vocab_size} tokens")
    if 8 * config.block_size * config.n_embd > max(TABLES_LIMIT, size):
        what = f"block_size {config.block_size} is too much for {size:,} bytes of weights"
        raise damaged(path.parent / CONFIG, what)
    types = sorted({entry.dtype for entry in header.values()})
    if len(types) != 1 or types[0] not in TYPES:
        raise damaged(path, f"weights of type {', '.join(types)[:80]}, not all one of {', '.join(TYPES)}")
    try:
        with without_weights():
            model = GPT(config, vocab_size).to(TYPES[types[0]][0])
    except (RuntimeError, ArithmeticError, ValueError, TypeError, MemoryError) as error:
        raise damaged(path.parent / CONFIG, f"no such model can be: {error}") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for names, state in ((wanted.keys() - header.keys(), "missing"), (header.keys() - wanted.keys(), "unknown")):
        if names:
            listed = ", ".join(repr(name[:60]) for name in sorted(names)[:5])
            raise damaged(path, f"{len(names)} weights are {state}: {listed}")
    for name, shape in wanted.items():
        if header[name].shape != shape:
            raise damaged(path, f"{name} has the shape {header[name].shape}, the config says {shape}")
    return model


def _fill(model: GPT, path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:  # memory-maps the file: copies survive if it changes
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            model.load_state_dict(weights, assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise damaged(path, str(error)) from None


@contextlib.contextmanager
def _as_machine_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        fix = "make room, or choose a folder that can be written"
        raise MachineError(f"cannot save the model: {error}", str(folder), fix) from error
