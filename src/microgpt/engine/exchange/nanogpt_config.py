"""Translate a configuration of nanoGPT (https://github.com/karpathy/nanoGPT) to a command line, without running it.

nanoGPT executes its config/*.py. Here the file is parsed, and only assignments of plain values and their arithmetic
are read.
"""

import ast
import operator
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from microgpt.errors import UsageError
from microgpt.files import read_capped
from microgpt.text import one_line, quoted

LIMIT = 1 << 20
DEFAULTS: Mapping[str, Any] = {
    "init_from": "scratch", "dataset": "openwebtext", "gradient_accumulation_steps": 40, "batch_size": 12,
    "block_size": 1024, "n_layer": 12, "n_head": 12, "n_embd": 768, "dropout": 0.0, "bias": False,
    "learning_rate": 6e-4, "max_iters": 600000, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "grad_clip": 1.0,
    "decay_lr": True, "warmup_iters": 2000, "lr_decay_iters": 600000, "min_lr": 6e-5, "eval_interval": 2000,
    "log_interval": 1, "eval_iters": 200,
}  # fmt: skip
"""The values of nanoGPT's train.py for what a configuration leaves out; `dtype`, `compile` and `device` are chosen by
the machine here as there."""
SAME = {
    "n_layer": "model.n_layer", "n_head": "model.n_head", "n_embd": "model.n_embd", "block_size": "model.block_size",
    "dropout": "model.dropout", "bias": "model.bias", "max_iters": "trainer.max_steps", "learning_rate": "optim.lr",
    "weight_decay": "optim.weight_decay", "grad_clip": "trainer.gradient_clip_val", "eval_interval":
    "eval.every_n_steps", "log_interval": "trainer.log_every_n_steps", "compile": "trainer.compile",
    "out_dir": "hydra.run.dir", "seed": "seed",
}  # fmt: skip
"""nanoGPT's name -> ours, where the value stays as it is."""
DTYPES = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
CORPORA = {"shakespeare_char": "shakespeare", "enwik8": "enwik8", "text8": "text8"}
SILENT = {
    "always_save_checkpoint", "batch_size", "beta1", "beta2", "dataset", "decay_lr", "device", "dtype", "eval_iters",
    "eval_only", "gradient_accumulation_steps", "init_from", "lr_decay_iters", "min_lr", "wandb_log", "wandb_project",
    "wandb_run_name", "warmup_iters",
}  # fmt: skip
"""Names that `command_line` treats one by one, or that need no knob here."""
OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def command_line(path: Path) -> tuple[str, list[str]]:
    """The equivalent `microgpt-train` command of a nanoGPT configuration, and remarks on what differs.

    Raises:
        UsageError: the file is missing or is no Python.
    """
    given, unread = read_assignments(path)
    knobs = {**DEFAULTS, **given}
    words, remarks = ["model=gpt2", "optim=adamw", "experiment=null"], [f"not read: {name}" for name in unread]
    words += [f"{ours}={_text(knobs[name])}" for name, ours in SAME.items() if name in knobs]
    words += _batch(knobs) + _rate(knobs, remarks)
    words += [f"optim.betas=[{knobs['beta1']},{knobs['beta2']}]", "eval.protocol=random"]
    if knobs["init_from"].startswith("gpt2"):
        words.append(f"model.pretrained={knobs['init_from']}")
    elif knobs["init_from"] == "resume":
        remarks.append("init_from='resume': a run continues when it is started again in its folder")
    if (corpus := CORPORA.get(knobs["dataset"])) is not None:
        words.append(f"data={corpus}")
    else:
        words.append("data.path=TEXT")
        remarks.append(f"dataset {knobs['dataset']!r}: name its text with data.path; its subwords need a tokenizer, "
                       "see data.tokenizer")  # fmt: skip
    if "dtype" in knobs and knobs["dtype"] in DTYPES:
        words.append(f"trainer.precision={DTYPES[knobs['dtype']]}")
    if "device" in knobs:
        words.append(f"trainer.accelerator={str(knobs['device']).split(':')[0]}")
    if knobs.get("wandb_log"):
        words.append("logger=wandb")
    remarks += [f"{name} has no counterpart" for name in given if name not in SAME and name not in SILENT]
    return shlex.join(["microgpt-train", *words]), remarks


def _batch(knobs: Mapping[str, Any]) -> list[str]:
    steps, size = knobs["gradient_accumulation_steps"], knobs["batch_size"]
    micro = [f"trainer.micro_batch_size={size}"] if steps > 1 else []
    return [f"data.batch_size={size * steps}", *micro]


def _rate(knobs: Mapping[str, Any], remarks: list[str]) -> list[str]:
    if not knobs["decay_lr"]:
        return ["optim.schedule=constant", "optim.warmup_steps=0"]
    if knobs["lr_decay_iters"] != knobs["max_iters"]:
        remarks.append(f"lr_decay_iters={knobs['lr_decay_iters']}: here the rate decays to the last step, "
                       f"{knobs['max_iters']}")  # fmt: skip
    final = knobs["min_lr"] / knobs["learning_rate"]
    return ["optim.schedule=cosine", f"optim.schedule.final={final:g}", f"optim.warmup_steps={knobs['warmup_iters']}"]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def read_assignments(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read `name = value` lines of a Python file: the plain values, and the names whose value is no plain one.

    Raises:
        UsageError: the file is missing or is no Python.
    """
    try:
        tree = ast.parse(read_capped(path, LIMIT).decode("utf-8"))
    except FileNotFoundError:
        raise UsageError("no such file", str(path), "name a file of nanoGPT's config/ folder") from None
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise UsageError(f"no Python file ({one_line(error, 100)})", str(path), "name a file of config/") from None
    values: dict[str, Any] = {}
    unread = []
    for line in tree.body:
        if not isinstance(line, ast.Assign) or not isinstance(line.targets[0], ast.Name):
            continue
        name = line.targets[0].id
        try:
            values[name] = _value(line.value, values)
        except (ValueError, TypeError, ArithmeticError):
            if name not in SILENT:
                unread.append(name)
    for name, default in DEFAULTS.items():
        if name in values and not isinstance(values[name], (int, float) if _is_number(default) else type(default)):
            raise UsageError(f"{name} = {one_line(values[name], 40)}", str(path), f"it is like {default!r} in nanoGPT")
    return values, unread


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """The plain value of an expression; raises ValueError if it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool)):
        return node.value
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, known)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _value(node.left, known), _value(node.right, known)
        if _is_number(left) and _is_number(right):
            return OPERATORS[type(node.op)](left, right)
    raise ValueError("no plain value")
