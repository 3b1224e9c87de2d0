"""Resume at every step, other micro-batches, and write errors at every write of a save."""

import builtins
import contextlib
import errno
import io
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import microgpt.engine.train as engine
from campaign_rig import checkpoint, composed, identity, quickly, write_text
from microgpt.engine.fit.callbacks import save
from microgpt.engine.process import signals
from microgpt.errors import MachineError

STEPS = 24
"""Of the runs that are resumed at every step."""
GRID = list(itertools.product((1, 4), ("32-true", "bf16-mixed"), ("adamw", "muon"), (0.0, 0.1)))


def every_step(folder: Path, grid: list[tuple[int, str, str, float]] = GRID, steps: int = STEPS) -> dict[str, Any]:
    """A run that is stopped and resumed after each step has the bits of one that is not, at each step.

    What is resumed at step s and makes step s + 1 equals the uninterrupted run there, for every s: so does, step by
    step, whatever is resumed at s and trained to the end.
    """
    text = write_text(folder / "text.txt")
    figures: dict[str, Any] = {"cases": len(grid), "resumes": 0, "mismatches": []}
    for n_micro, precision, optim, dropout in grid:
        name = f"{n_micro} {precision} {optim} {dropout}"
        run = composed(
            text, f"optim={optim}", f"trainer.precision={precision}", f"trainer.micro_batch_size={16 // n_micro}",
            f"model.dropout={dropout}", f"trainer.max_steps={steps}", "checkpoint.every_n_steps=1",
            "checkpoint.keep=100",
        )  # fmt: skip
        whole, parts = folder / "whole", folder / "parts"
        with quickly():
            engine.run(run.config, whole)
            for _ in range(steps):
                with leaving_after_each_step(), contextlib.suppress(signals.Stopped):
                    engine.run(run.config, parts)
                figures["resumes"] += 1
            engine.run(run.config, parts)
        for step in range(1, steps + 1):
            states = [checkpoint.read(f / "checkpoints" / checkpoint.step_name(step)) for f in (whole, parts)]
            if differs(*states):
                figures["mismatches"].append(f"{name} step {step}")
        if identity(whole) != identity(parts):
            figures["mismatches"].append(f"{name} at the end")
        shutil.rmtree(whole)
        shutil.rmtree(parts)
    figures["passed"] = not figures["mismatches"]
    return figures


def every_step_elsewhere(folder: Path, grid: list[tuple[int, str, str, float]] = GRID, steps: int = STEPS) -> Any:
    """The same while TMPDIR is on another file system than the run folder, from which nothing can be renamed."""
    place = another_file_system(folder)
    if place is None:
        return {"TMPDIR": "no other file system that can be written is here", "passed": False}
    with tempfile.TemporaryDirectory(prefix="microgpt-campaign-", dir=place) as elsewhere:
        before = tempfile.tempdir, os.environ.get("TMPDIR")
        tempfile.tempdir, os.environ["TMPDIR"] = elsewhere, elsewhere
        try:
            figures = {"TMPDIR": str(place), **every_step(folder, grid, steps)}
        finally:
            tempfile.tempdir = before[0]
            os.environ.update({"TMPDIR": before[1]} if before[1] else {})
            if before[1] is None:
                del os.environ["TMPDIR"]
        figures["left in TMPDIR"] = sorted(path.name for path in Path(elsewhere).iterdir())
    return figures


def another_file_system(folder: Path) -> Path | None:
    """A folder that can be written on a file system other than that of `folder`, if there is one."""
    for name in ("/dev/shm", f"/run/user/{os.getuid()}", "/run", "/var/tmp", "/tmp", str(Path.home()), str(Path.cwd())):
        place = Path(name)
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != folder.stat().st_dev:
            return place
    return None


@contextlib.contextmanager
def leaving_after_each_step() -> Iterator[None]:
    """As if a signal came during each step."""
    ask, save.any_rank = save.any_rank, lambda trainer, wish: 4 * 10
    try:
        yield
    finally:
        save.any_rank = ask


def differs(one: Any, other: Any) -> bool:
    """Whether two states differ in any bit, time aside."""
    if isinstance(one, torch.Tensor):
        return one.dtype != other.dtype or not torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() != other.keys() or any(differs(one[k], other[k]) for k in one if k != "seconds")
    if isinstance(one, (list, tuple)):
        return len(one) != len(other) or any(map(differs, one, other))
    return bool(one != other)


def micro_batches(folder: Path) -> dict[str, Any]:
    """In float64 without dropout, micro-batches of 16, 4 and 1 sequence end within 1e-12 of each other."""
    text = write_text(folder / "text.txt")
    weights = {}
    for size in (16, 4, 1):
        run = composed(text, f"trainer.micro_batch_size={size}", "trainer.precision=64-true", "optim=adamw")
        with quickly():
            engine.run(run.config, folder / f"micro-{size}")
        weights[size] = load_file(folder / f"micro-{size}" / "model" / "model.safetensors")
    apart = max(float((weights[16][k] - weights[s][k]).abs().max()) for s in (4, 1) for k in weights[16])
    return {"largest difference": apart, "passed": apart < 1e-12}


def write_errors(folder: Path) -> dict[str, Any]:
    """Every call of a save that touches the disk fails once; the checkpoint before is intact, nothing is left over."""
    weights = {"a": torch.randn(7, 3), "b": torch.randn(5).bfloat16()}
    state = {"global_step": 2, "optimizer_states": [{"m": torch.randn(7, 3), "step": 2}]}
    place = folder / "checkpoints"
    checkpoint.write(place / checkpoint.step_name(1), weights, {**state, "global_step": 1}, {"step": 1})
    figures: dict[str, Any] = {"calls of a save": 0, "failed saves": 0, "previous one damaged": 0, "left over": [],
                               "not reported": 0}  # fmt: skip
    for code in (errno.ENOSPC, errno.EIO):
        for failing in itertools.count(1):
            with failing_disk(failing, code) as disk:
                try:
                    checkpoint.write(place / checkpoint.step_name(2), weights, state, {"step": 2})
                    survived = True
                except MachineError:
                    survived = False
            if disk.calls < failing:
                break
            figures["calls of a save"] = max(figures["calls of a save"], failing)
            figures["failed saves"] += not survived
            try:
                checkpoint.read(place / checkpoint.step_name(1))
            except Exception:
                figures["previous one damaged"] += 1
            names = sorted(p.name for p in place.iterdir())
            if survived or names != [checkpoint.step_name(1)]:
                # The last call flushes the name of a whole checkpoint: what cannot be sure to stay may yet be there.
                if names == [checkpoint.step_name(1), checkpoint.step_name(2)]:
                    checkpoint.read(place / checkpoint.step_name(2))
                    shutil.rmtree(place / checkpoint.step_name(2))
                else:
                    figures["left over"].append(names)
            figures["not reported"] += survived
    figures["passed"] = not (figures["previous one damaged"] or figures["left over"] or figures["not reported"])
    return figures


class failing_disk:  # noqa: N801 - used as a function
    """Within: call number `failing` of those that write, flush, make or rename fails, and the disk stays full."""

    def __init__(self, failing: int, code: int) -> None:
        self.failing, self.code, self.calls = failing, code, 0

    def hit(self) -> None:
        self.calls += 1
        if self.calls == self.failing:
            raise OSError(self.code, os.strerror(self.code))

    def __enter__(self) -> "failing_disk":
        disk = self

        class Raw(io.FileIO):
            def write(self, data: Any) -> int:
                if not self.name or "tmp-step" not in str(self.name):
                    return super().write(data)
                if disk.calls + 1 == disk.failing and len(data) > 1:  # a full disk takes what it can, then fails
                    super().write(memoryview(data)[: len(data) // 2])
                disk.hit()
                return super().write(memoryview(data)[:1000])

        def opened(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if "tmp-step" in str(self) and "x" in mode:
                disk.hit()
                return Raw(self, "x")
            return builtins.open(self, mode, *args, **kwargs)  # noqa: PTH123

        self._kept = (Path.open, os.fsync, Path.mkdir, Path.rename)
        fsync, mkdir, rename = self._kept[1:]
        Path.open = opened  # type: ignore[method-assign]
        os.fsync = lambda d: (disk.hit(), fsync(d))[1]
        Path.mkdir = lambda s, *a, **k: (disk.hit(), mkdir(s, *a, **k))[1]  # type: ignore[method-assign]
        Path.rename = lambda s, t: (disk.hit(), rename(s, t))[1]  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Path.open, os.fsync, Path.mkdir, Path.rename = self._kept  # type: ignore[method-assign]
