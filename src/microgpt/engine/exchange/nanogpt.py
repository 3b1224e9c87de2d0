"""Read nanoGPT's checkpoints and vocabularies (https://github.com/karpathy/nanoGPT) safely.

Both files are pickles, which can run code when loaded. torch's weights-only unpickler reads ckpt.pt; an interpreter of
the few instructions that plain dictionaries need reads meta.pkl.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from pickletools import genops
from typing import Any

import torch
from torch import Tensor

from microgpt.config import ConfigError
from microgpt.data.tokenizer import CharTokenizer
from microgpt.engine.exchange.filled import Origin, drop_tied_head, fill, rename
from microgpt.engine.exchange.pickled import load_plain
from microgpt.errors import CheckpointError
from microgpt.files import read_capped
from microgpt.foreign import MODELS, refuse_foreign
from microgpt.model import GPT, GPTConfig
from microgpt.text import one_line, shown

META_LIMIT = 64 << 20
STATE = {"model", "model_args", "optimizer", "iter_num", "best_val_loss", "config"}
"What train.py saves; all but the first two describe the training."
ARGUMENTS = ("n_layer", "n_head", "n_embd", "block_size", "bias", "dropout")
META = {"itos", "stoi", "vocab_size"}
NAMES = {
    "transformer.wte.": "wte.",
    "transformer.wpe.": "pos.wpe.",
    "transformer.ln_f.": "norm.",
    "transformer.h.": "blocks.",
    "lm_head.": "head.",
    ".ln_1.": ".norm1.",
    ".ln_2.": ".norm2.",
    ".attn.c_attn.": ".attn.qkv.",
    ".attn.c_proj.": ".attn.out.",
    ".mlp.c_fc.": ".mlp.widen.",
    ".mlp.c_proj.": ".mlp.out.",
}
"Parts of nanoGPT's weight names -> ours. Both keep queries, keys and values in one matrix, in this order."


def read_checkpoint(path: Path) -> GPT:
    """Read the model of a ckpt.pt, in eval mode.

    Raises:
        UsageError: the environment disables torch's protection.
        CheckpointError: the file is not such a checkpoint.
    """
    refuse_foreign(path, (kind for kind in MODELS if kind.name != "pickle"))
    state = load_plain(path, "name nanoGPT's ckpt.pt")
    arguments, weights = (state.get(key) if isinstance(state, dict) else None for key in ("model_args", "model"))
    if not isinstance(arguments, dict) or not isinstance(weights, dict):
        raise CheckpointError("no model_args and model", str(path), "it is no checkpoint of nanoGPT's train.py")
    origin = Origin(path, "nanoGPT", "model_args")
    origin.refuse(state.keys() - STATE)
    origin.refuse(arguments.keys() - {*ARGUMENTS, "vocab_size"}, "model_args.")
    try:
        renamed = read_weights(weights, origin)
        config, vocab_size = read_arguments(arguments, is_tied=drop_tied_head(renamed))
        return fill(config, vocab_size, renamed, origin)
    except ConfigError as error:
        raise CheckpointError(one_line(f"model_args.{error.faults[0]}"), str(path)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(one_line(f"model_args are not nanoGPT's ({error!r})"), str(path)) from None


def read_weights(weights: Mapping[Any, Any], origin: Origin) -> dict[str, Tensor]:
    """The weights under our names, without causal masks.

    Raises:
        CheckpointError: a weight is no tensor of real numbers, is there twice, or is a mask that is not causal.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            origin.refuse([name], "model.")
        ours = rename(str(name), NAMES)
        if ours in found:
            origin.refuse([name], "model.")
        if ours.endswith(".attn.bias"):  # of versions that need no flash attention
            T = tensor.shape[-1] if tensor.dim() else 0
            if tensor.shape != (1, 1, T, T) or not torch.equal(tensor[0, 0], torch.ones(T, T).tril().to(tensor)):
                origin.refuse([name], "model.")
            continue
        found[ours] = tensor
    return found


def read_arguments(arguments: Mapping[str, Any], is_tied: bool) -> tuple[GPTConfig, int]:
    """Convert nanoGPT's model_args to our config and the vocabulary size."""
    knobs = {name: arguments[name] for name in ARGUMENTS}
    parts = {"pos": "learned", "norm": "layernorm", "mlp": "gelu", "tie_weights": is_tied}
    return GPTConfig.from_dict({**knobs, **parts}), int(arguments["vocab_size"])


def read_meta(path: Path) -> CharTokenizer:
    """Read the characters of a meta.pkl.

    Raises:
        CheckpointError: the file holds anything but nanoGPT's plain dictionaries.
    """
    try:
        meta = read_plain(read_capped(path, META_LIMIT))
        letters = meta["itos"]
        characters = [letters[i] for i in range(len(letters))]
        is_whole = meta.keys() <= META and meta.get("vocab_size", len(letters)) == len(letters)
        if not is_whole or meta.get("stoi", indices := {c: i for i, c in enumerate(characters)}) != indices:
            raise ValueError("itos, stoi and vocab_size differ, or there is more")
        return CharTokenizer(characters)
    except FileNotFoundError:
        raise CheckpointError("no such file", str(path), "name the meta.pkl of the data folder") from None
    except Exception as error:
        what = f"no plain dictionaries of characters ({shown(error, 150)})"
        raise CheckpointError(what, str(path), "name the meta.pkl that nanoGPT's prepare.py wrote") from None


def read_plain(data: bytes) -> Any:
    """Read a pickle of dictionaries, strings and integers; refuse anything else.

    Raises:
        ValueError: the pickle holds another instruction.
    """
    unpickler = PlainUnpickler()
    for opcode, argument, _ in genops(data):
        if opcode.name == "STOP":
            return unpickler.stack.pop()
        if opcode.name not in INSTRUCTIONS:
            raise ValueError(f"the instruction {opcode.name}")
        INSTRUCTIONS[opcode.name](unpickler, argument)
    raise ValueError("no end")


class PlainUnpickler:
    """A pickle's stack machine, with only the instructions that cannot run code."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[Any, Any] = {}

    def skip(self, _: Any) -> None:
        """Do nothing: the version, and frame sizes for reading ahead."""

    def push(self, constant: Any) -> None:
        """Push a string or a number."""
        self.stack.append(constant)

    def push_dict(self, _: Any) -> None:
        """Push an empty dictionary."""
        self.stack.append({})

    def mark(self, _: Any) -> None:
        """Mark where a dictionary's items begin."""
        self.marks.append(len(self.stack))

    def memoize(self, _: Any) -> None:
        """Store the top of the stack under the next number."""
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, number: Any) -> None:
        """Store the top of the stack under this number."""
        self.memo[number] = self.stack[-1]

    def get(self, number: Any) -> None:
        """Push the value stored under this number."""
        self.stack.append(self.memo[number])

    def set_item(self, _: Any) -> None:
        """Move a key and its value from the stack into the dictionary below them."""
        self.marks.append(len(self.stack) - 2)
        self.set_items(None)

    def set_items(self, _: Any) -> None:
        """Move all keys and values since the last mark into the dictionary below them."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


CONSTANTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1")
INSTRUCTIONS: dict[str, Callable[[PlainUnpickler, Any], None]] = {
    "PROTO": PlainUnpickler.skip,
    "FRAME": PlainUnpickler.skip,
    "EMPTY_DICT": PlainUnpickler.push_dict,
    "MARK": PlainUnpickler.mark,
    **dict.fromkeys(CONSTANTS, PlainUnpickler.push),
    "MEMOIZE": PlainUnpickler.memoize,
    "BINPUT": PlainUnpickler.put,
    "LONG_BINPUT": PlainUnpickler.put,
    "BINGET": PlainUnpickler.get,
    "LONG_BINGET": PlainUnpickler.get,
    "SETITEM": PlainUnpickler.set_item,
    "SETITEMS": PlainUnpickler.set_items,
}
"""The instructions in a pickle of plain dictionaries, except the end."""
