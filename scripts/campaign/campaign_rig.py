"""What every part of the campaign shares: tiny runs, forked from one warm process, and their fingerprints."""

import contextlib
import io
import json
import mmap
import os
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import microgpt.engine.train as engine
from microgpt.engine.commands import common
from microgpt.engine.compose.compose import Composed, compose_run
from microgpt.engine.fit.callbacks import save
from microgpt.engine.store import checkpoint
from microgpt.files import sha256

TINY = (
    "model=gpt-nano model.n_layer=1 model.n_head=2 model.n_embd=16 model.block_size=16 data.batch_size=16 "
    "trainer.max_steps=24 trainer.compile=false trainer.accelerator=cpu trainer.precision=32-true "
    "trainer.progress=none trainer.log_every_n_steps=4 eval.every_n_steps=8 eval.figures=never "
    "sample.every_n_steps=0 sample.max_new_tokens=4 checkpoint.every_n_steps=4"
).split()

CASES = {
    "fp32": ["optim=adamw"],
    "bf16": ["optim=adamw", "trainer.precision=bf16-mixed"],
    "accumulation": ["optim=adamw", "trainer.micro_batch_size=4"],
    "dropout": ["optim=adamw", "model.dropout=0.1", "trainer.micro_batch_size=8"],
    "muon": ["optim=muon"],
    "muon bf16 dropout": ["optim=muon", "model.dropout=0.1", "trainer.precision=bf16-mixed"],
    "average": ["optim=lion", "trainer.ema_decay=0.9"],
}


def write_text(path: Path) -> Path:
    """A text to train on, of some 4,000 characters."""
    words = random.Random(0).choices("the cat sat on a mat and saw some dog run to that tree".split(), k=1000)
    path.write_text(" ".join(words) + "\n", encoding="utf-8")
    return path


def composed(text: Path, *knobs: str) -> Composed:
    """A tiny run, composed once for many forks."""
    return compose_run([*TINY, f"data.path={text}", "hydra.run.dir=unused", *knobs])


class Board:
    """A few numbers shared with a forked process: the step it is at, and whether it is saving."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, 16)

    def set(self, place: int, value: int) -> None:
        self._map[8 * place : 8 * place + 8] = struct.pack("q", value)

    def get(self, place: int) -> int:
        return int(struct.unpack("q", self._map[8 * place : 8 * place + 8])[0])


STEP, SAVING = 0, 1


def forked(work: Callable[[], int], output: Path | None = None) -> int:
    """Run `work` in a fork of this process; its exit code is what `work` returns. Returns the process's id."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        target = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)
        code = work()
        sys.stdout.flush()
    except BaseException as error:
        os.write(2, f"CAMPAIGN: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """Wait for a process: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def train(
    run: Composed,
    folder: Path,
    board: Board | None = None,
    arguments: tuple[str, ...] = (),
    must_be_new: bool = False,
) -> int:
    """Train in this process as the command does; returns its exit code."""
    if board is not None:
        watch(board)
    with quickly():
        return common.run(
            lambda words: (engine.run(run.config, folder, words, must_be_new=must_be_new), None)[1], arguments
        )


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Leave out the words that close a run: they come after all that is tested here."""
    words, engine.closing_words = engine.closing_words, lambda *_: None
    try:
        yield
    finally:
        engine.closing_words = words


def watch(board: Board) -> None:
    """Let this process tell on `board` at which step it is and when it saves."""
    step_end, write = save.Save.on_step_end, checkpoint.write

    def on_step_end(self: Any, trainer: Any, module: Any, step: int) -> None:
        board.set(STEP, step)
        step_end(self, trainer, module, step)

    def write_watched(*args: Any) -> None:
        board.set(SAVING, board.get(SAVING) + 1)
        write(*args)

    save.Save.on_step_end = on_step_end  # type: ignore[method-assign]
    checkpoint.write = write_watched


def identity(folder: Path) -> dict[str, str]:
    """The checksums of the newest checkpoint's tensors and of the model folder: equal when every bit is."""
    newest = checkpoint.checkpoints(folder / "checkpoints")[0]
    files = checkpoint.manifest(newest)["files"]
    model = sha256(folder / "model" / "model.safetensors")
    return {"step": newest.name, "model": model, **{name: files[name]["sha256"] for name in checkpoint.FILES[:2]}}


def broken(folder: Path) -> list[str]:
    """The checkpoints under a final name that do not verify; there must be none, whenever a process was killed."""
    found = []
    for path in checkpoint.checkpoints(folder / "checkpoints"):
        try:
            checkpoint.verify(path)
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def newest_step(folder: Path) -> int:
    """The step that a resumed run starts from."""
    found = checkpoint.checkpoints(folder / "checkpoints")
    return int(found[0].name[5:]) if found else 0


def report(name: str, figures: dict[str, Any], started: float) -> dict[str, Any]:
    """Print a part's figures as a table."""
    figures = {**figures, "seconds": round(time.monotonic() - started, 1)}
    width = max(map(len, figures))
    print(f"\n{name}")
    for key, value in figures.items():
        print(f"  {key:<{width}}  {value if not isinstance(value, (dict, list)) else json.dumps(value)}")
    sys.stdout.flush()
    return figures
