"""Surroundings that a process may find: environment variables, missing folders, a folder that takes no files."""

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campaign_rig import TINY, write_text
from microgpt.files import sha256

NOWHERE = "{folder}/nowhere"
"""A folder that does not exist."""
READ_ONLY = "/proc"
"""A folder that takes no files, not even from root."""


@dataclass(frozen=True)
class Surrounding:
    """What a process finds: variables that are set, variables that are not, and its working directory."""

    env: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    cwd: str = ""


SURROUNDINGS = {
    "MPLBACKEND of Jupyter": Surrounding({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}),
    "MPLBACKEND=inline": Surrounding({"MPLBACKEND": "inline"}),
    "MPLBACKEND of a window": Surrounding({"MPLBACKEND": "tkagg"}, ("DISPLAY",)),
    "MPLCONFIGDIR missing": Surrounding({"MPLCONFIGDIR": NOWHERE}),
    "MPLCONFIGDIR read-only": Surrounding({"MPLCONFIGDIR": READ_ONLY}),
    "TERM=dumb": Surrounding({"TERM": "dumb"}),
    "no TERM": Surrounding({}, ("TERM",)),
    "COLUMNS=1": Surrounding({"COLUMNS": "1", "LINES": "1"}),
    "COLUMNS=x": Surrounding({"COLUMNS": "x"}),
    "NO_COLOR": Surrounding({"NO_COLOR": "1"}),
    "FORCE_COLOR": Surrounding({"FORCE_COLOR": "1"}),
    "no GPU": Surrounding({"CUDA_VISIBLE_DEVICES": ""}),
    "HYDRA_FULL_ERROR": Surrounding({"HYDRA_FULL_ERROR": "1"}),
    "PYTHONHASHSEED": Surrounding({"PYTHONHASHSEED": "12345"}),
    "OMP_NUM_THREADS=many": Surrounding({"OMP_NUM_THREADS": "3"}),
    "OMP_NUM_THREADS=x": Surrounding({"OMP_NUM_THREADS": "x"}),
    "TMPDIR missing": Surrounding({"TMPDIR": NOWHERE}),
    "TMPDIR read-only": Surrounding({"TMPDIR": READ_ONLY}),
    "HOME missing": Surrounding({"HOME": NOWHERE}, ("XDG_CACHE_HOME", "MICROGPT_CACHE")),
    "HOME read-only": Surrounding({"HOME": READ_ONLY}, ("XDG_CACHE_HOME", "MICROGPT_CACHE")),
    "no HOME": Surrounding({}, ("HOME", "XDG_CACHE_HOME", "MICROGPT_CACHE", "USER", "LOGNAME")),
    "LANG=C": Surrounding({"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "PYTHONIOENCODING=ascii": Surrounding({"PYTHONIOENCODING": "ascii"}),
    "read-only folder": Surrounding(cwd=READ_ONLY),
}
COMMANDS = ("train", "generate", "evaluate", "compare", "export", "import", "help")
MODULES = {"import": "import_", "help": "train"}
CHANGES_SUMS = ("OMP_NUM_THREADS=many", "OMP_NUM_THREADS=x")
"""Surroundings that may change the last bits of what is computed."""


class Place:
    """A folder with a run, what there is to import, and the results of every command in usual surroundings."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.text = write_text(folder / "text.txt")
        make_checkpoint(folder, 16)
        self.usual: dict[str, tuple[str, dict[str, str]]] = {}
        for command in COMMANDS:  # the first trains the run that others open
            code, output, errors, files = self.run(command, Surrounding(), "run" if command == "train" else "")
            if code:
                raise SystemExit(f"{command} in usual surroundings ended with {code}: {errors}")
            self.usual[command] = output, files

    def run(self, command: str, found: Surrounding, name: str = "") -> tuple[int, str, str, dict[str, str]]:
        """A command's exit code, output, errors, and the hashes of the weights that it wrote."""
        self.count += 1
        out = self.folder / (name or f"out-{self.count}")
        env = {key: value for key, value in os.environ.items() if key not in found.without}
        env |= {key: value.format(folder=self.folder) for key, value in found.env.items()}
        module = f"microgpt.engine.commands.{MODULES.get(command, command)}"
        done = subprocess.run(
            [sys.executable, "-m", module, *self.words(command, out)],
            env=env, cwd=found.cwd or self.folder, capture_output=True, check=False, timeout=600,
        )  # fmt: skip
        weights = {path.name: sha256(path) for path in sorted(out.rglob("model.safetensors"))}
        return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), weights

    def words(self, command: str, out: Path) -> list[str]:
        """The arguments of a short run of the command."""
        run, figures = str(self.folder / "run"), str(out)
        tiny = [word for word in TINY if not word.startswith(("eval.figures", "trainer.max_steps", "trainer.progress"))]
        return {
            "train": [*tiny, "trainer.max_steps=2", "eval.figures=always", f"data.path={self.text}",
                      f"hydra.run.dir={out}"],
            "generate": [run, "--prompt", "the ", "--max-new-tokens", "20", "--seed", "1"],
            "evaluate": [run, "--json"],
            "compare": [run, "--figures", figures],
            "export": [run, str(out)],
            "import": ["nanogpt", str(self.folder / "ckpt.pt"), str(out), "--meta", str(self.folder / "meta.pkl")],
            "help": ["--help"],
        }[command]  # fmt: skip

    def judge(self, command: str, names: tuple[str, ...]) -> str:
        """What is wrong with a command in these surroundings together; empty when nothing is."""
        found = [SURROUNDINGS[name] for name in names]
        together = Surrounding(
            {key: value for one in found for key, value in one.env.items()},
            tuple(key for one in found for key in one.without),
            next((one.cwd for one in found if one.cwd), ""),
        )
        code, output, errors, weights = self.run(command, together)
        expected, files = self.usual[command]
        if code != 0:
            return f"exit {code}: {errors[-300:]}"
        if "Traceback" in errors or "microgpt: error" in errors:
            return f"errors: {errors[-300:]}"
        if "PYTHONIOENCODING=ascii" in names and not output.isascii():
            return f"not ASCII: {output[:200]}"
        if set(names).isdisjoint(CHANGES_SUMS):
            if weights != files:
                return "other weights"
            if command in ("generate", "evaluate") and output != expected:
                return f"another output: {output[:200]}"
        return ""


def make_checkpoint(folder: Path, vocab_size: int) -> None:
    """A checkpoint as nanoGPT writes it, with a vocabulary of letters."""
    import pickle

    import torch

    C = 16
    shapes = {"wte": (vocab_size, C), "wpe": (8, C), "ln_f": (C,), "h.0.ln_1": (C,), "h.0.ln_2": (C,)}
    shapes |= {"h.0.attn.c_attn": (3 * C, C), "h.0.attn.c_proj": (C, C)}
    shapes |= {"h.0.mlp.c_fc": (4 * C, C), "h.0.mlp.c_proj": (C, 4 * C)}
    weights = {f"transformer.{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    arguments = {"n_layer": 1, "n_head": 2, "n_embd": C, "block_size": 8, "bias": False, "dropout": 0.0}
    torch.save({"model_args": {**arguments, "vocab_size": vocab_size}, "model": weights}, folder / "ckpt.pt")
    letters = {number: chr(97 + number) for number in range(vocab_size)}
    (folder / "meta.pkl").write_bytes(pickle.dumps({"itos": letters}))


def surroundings(folder: Path, draws: int) -> dict[str, Any]:
    """Start commands, each in a few surroundings at once, drawn until each surrounding has come up.

    Args:
        draws: the number of commands to start.
    """
    place, generator = Place(folder), random.Random(0)
    seen, faults = set[tuple[str, str]](), list[str]()
    names = list(SURROUNDINGS)
    for n in range(draws):
        command = COMMANDS[n % len(COMMANDS)]
        first = names[n % len(names)]  # the two counts have no common divisor: each pair comes up in turn
        chosen = (first, *generator.sample([name for name in names if name != first], generator.choice((0, 2, 5))))
        seen |= {(command, name) for name in chosen}
        if fault := place.judge(command, chosen):
            faults.append(f"{command} with {', '.join(chosen)}: {fault}")
    return {
        "commands started": draws,
        "surroundings": len({name for _, name in seen}),
        "pairs of command and surrounding": len(seen),
        "faults": faults,
        "passed": not faults,
    }
