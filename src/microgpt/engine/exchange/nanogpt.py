"""Read nanoGPT's checkpoints and vocabularies (https://github.com/karpathy/nanoGPT) safely.

Both files are pickles, which can run code when they are loaded. ckpt.pt is read by torch's unpickler for weights
alone, meta.pkl by an interpreter of the few instructions that plain dictionaries need.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from pickletools import genops
from typing import Any

import torch
from torch import Tensor

from microgpt.config import ConfigError
from microgpt.data.tokenizer import CharTokenizer
from microgpt.errors import CheckpointError, UsageError
from microgpt.files import read_capped
from microgpt.model import GPT, GPTConfig
from microgpt.model.files.without_weights import without_weights
from microgpt.text import one_line, shown

UNSAFE = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
META_LIMIT = 64 << 20
NAMES = {
    "transformer.wte.": "wte.",
    "transformer.wpe.": "pos.wpe.",
    "transformer.ln_f.": "norm.",
    "transformer.h.": "blocks.",
    ".ln_1.": ".norm1.",
    ".ln_2.": ".norm2.",
    ".attn.c_attn.": ".attn.qkv.",
    ".attn.c_proj.": ".attn.out.",
    ".mlp.c_fc.": ".mlp.widen.",
    ".mlp.c_proj.": ".mlp.out.",
}
"Parts of its weights' names -> ours. Both keep queries, keys and values in one matrix, in this order."


def read_checkpoint(path: Path) -> GPT:
    """The model of a ckpt.pt, in eval mode.

    Raises:
        UsageError: the environment switches torch's protection off.
        CheckpointError: it is no such checkpoint.
    """
    if os.environ.get(UNSAFE):
        raise UsageError(f"{UNSAFE} is set, with which a pickle can run code", "the environment", f"unset {UNSAFE}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError("no such file", str(path), "name nanoGPT's ckpt.pt") from None
    except Exception as error:  # torch raises many kinds, for a damaged file and for one that would run code
        what = f"not a file of plain weights ({one_line(error, 150)})"
        raise CheckpointError(what, str(path), "name nanoGPT's ckpt.pt") from None
    arguments, weights = (state.get(key) if isinstance(state, dict) else None for key in ("model_args", "model"))
    if not isinstance(arguments, dict) or not isinstance(weights, dict):
        raise CheckpointError("no model_args and model", str(path), "it is no checkpoint of nanoGPT's train.py")
    try:
        config, vocab_size = read_arguments(arguments)
        renamed = {
            rename(str(name)): tensor for name, tensor in weights.items() if not str(name).endswith(".attn.bias")
        }
        renamed.pop("lm_head.weight", None)  # it is the table of tokens
        return fill(config, vocab_size, renamed, path)
    except ConfigError as error:
        raise CheckpointError(one_line(f"model_args.{error.faults[0]}"), str(path)) from None
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(one_line(f"model_args are not nanoGPT's ({error!r})"), str(path)) from None


def read_arguments(arguments: Mapping[str, Any]) -> tuple[GPTConfig, int]:
    """nanoGPT's model_args as our config, and the size of the vocabulary."""
    names = ("n_layer", "n_head", "n_embd", "block_size", "bias", "dropout")
    knobs = {name: arguments[name] for name in names}
    parts = {"pos": "learned", "norm": "layernorm", "mlp": "gelu", "tie_weights": True}
    return GPTConfig.from_dict({**knobs, **parts}), int(arguments["vocab_size"])


def rename(name: str) -> str:
    """Our name of a weight of theirs."""
    name = name.removeprefix("_orig_mod.")  # of a model that torch.compile had wrapped
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    return name


def fill(config: GPTConfig, vocab_size: int, weights: Mapping[str, Tensor], path: Path) -> GPT:
    """The model of these weights."""
    if 4 * config.n_layer > len(weights):
        raise CheckpointError(f"{config.n_layer} layers in {len(weights)} weights", str(path), "the file is damaged")
    with without_weights():
        model = GPT(config, vocab_size)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in weights.items()}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        what = f"{odd[0][:60]} has the shape {found.get(odd[0])}, model_args say {wanted.get(odd[0])}"
        raise CheckpointError(what, str(path), "it is no checkpoint of nanoGPT's train.py")
    model.load_state_dict(dict(weights), assign=True)
    return model.to(weights["wte.weight"].dtype).eval()


def read_meta(path: Path) -> CharTokenizer:
    """The characters of a meta.pkl.

    Raises:
        CheckpointError: it holds anything but nanoGPT's plain dictionaries.
    """
    try:
        meta = read_plain(read_capped(path, META_LIMIT))
        letters = meta["itos"]
        return CharTokenizer([letters[i] for i in range(len(letters))])
    except FileNotFoundError:
        raise CheckpointError("no such file", str(path), "name the meta.pkl of the data folder") from None
    except Exception as error:
        what = f"no plain dictionaries of characters ({shown(error, 150)})"
        raise CheckpointError(what, str(path), "name the meta.pkl that nanoGPT's prepare.py wrote") from None


def read_plain(data: bytes) -> Any:
    """Read a pickle of dictionaries, strings and whole numbers; anything else is refused.

    Raises:
        ValueError: it holds another instruction.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def fill_top() -> None:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        stack[-1].update(zip(items[::2], items[1::2], strict=True))

    for opcode, argument, _ in genops(data):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                marks.append(len(stack))
            case "SHORT_BINUNICODE" | "BINUNICODE" | "BINUNICODE8" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "SETITEM":
                marks.append(len(stack) - 2)
                fill_top()
            case "SETITEMS":
                fill_top()
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"the instruction {other}")
    raise ValueError("no end")
