"""Disks: probed before step 1, full in the middle; what was saved stays, the exit code is 5, nothing is left behind."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import campaign_exact
import campaign_rig
from microgpt import train
from microgpt.engine.commands import train as command
from microgpt.engine.store import checkpoint
from microgpt.engine.store import run_folder as rundir
from microgpt.engine.store.checkpoint import writing
from microgpt.engine.store.claim import claimed
from microgpt.errors import MachineError, UsageError

Tiny = Callable[..., list[str]]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_error_at_any_write_of_a_save_leaves_the_one_before_intact(tmp_path: Path) -> None:
    figures = campaign_exact.write_errors(tmp_path)
    assert figures["passed"], figures
    assert figures["calls of a save"] > 15


def test_a_checkpoint_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = {
        f"{dtype}".replace(".", " "): torch.arange(7).to(dtype)
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
    } | {"empty": torch.empty(0, 3), "scalar": torch.tensor(2.5), "transposed": torch.randn(3, 5).T}
    state = {"a": [1, 2.5, None, "x", True, (1, 2)], 3: {"t": torch.randn(4)}, "inf": float("inf")}
    path = tmp_path / checkpoint.step_name(7)
    checkpoint.write(path, weights, state, {"step": 7})
    read, read_state = checkpoint.read(path)
    assert not campaign_exact.differs(read, weights)
    assert not campaign_exact.differs(read_state, state)
    assert not campaign_exact.differs(load_file(path / checkpoint.WEIGHTS), weights)


def test_too_little_space_is_refused_before_the_first_step(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = rundir.shutil.disk_usage(tmp_path)  # type: ignore[attr-defined]
    monkeypatch.setattr(rundir.shutil, "disk_usage", lambda _: usage._replace(free=2_000_000))  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=r"2 MB are free, and 4 checkpoints of 1 MB need 3 MB"):
        train(tiny())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("victim", ["checkpoint", "metrics.csv", "events", "model", "summary.json", "config.yaml"])
def test_a_disk_that_fills_is_5_and_the_newest_checkpoint_survives(
    victim: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from microgpt.engine.fit import runlog

    count = [0]

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise FULL

    def later(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            count[0] += 1
            if count[0] > 2:
                raise FULL
            return real(*args, **kwargs)

        return call

    if victim == "checkpoint":
        monkeypatch.setattr(writing, "write_tensors", later(writing.write_tensors))  # type: ignore[attr-defined]
    elif victim == "metrics.csv":
        monkeypatch.setattr(runlog.csv, "writer", later(runlog.csv.writer))  # type: ignore[attr-defined]
    elif victim == "events":
        from tensorboard.summary.writer import record_writer

        monkeypatch.setattr("microgpt.engine.fit.tensorboard.DELAY", 0.0)  # written as training goes
        monkeypatch.setattr(record_writer.RecordWriter, "write", later(record_writer.RecordWriter.write))
    elif victim == "model":
        from microgpt.model.files import folder

        monkeypatch.setattr(folder, "save_file", fails)
    else:
        write = rundir.write_text

        def selective(path: Path, text: str) -> None:
            if path.name == victim:
                raise MachineError("cannot write (No space left on device)", str(path))
            write(path, text)

        monkeypatch.setattr(rundir, "write_text", selective)
    arguments = tiny("checkpoint.every_n_steps=2", "eval.every_n_steps=4")
    assert command.main(arguments) == 5
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "No space left on device" in err
    assert err.count("microgpt: error:") == 1
    assert campaign_rig.broken(tmp_path / "run") == []
    assert not list((tmp_path / "run").glob("checkpoints/.tmp-*"))
    monkeypatch.undo()
    assert command.main(arguments) == 0
    assert campaign_rig.identity(tmp_path / "run")["step"] == checkpoint.step_name(6)


def test_exactly_the_newest_and_the_best_are_kept(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("checkpoint.every_n_steps=1", "checkpoint.keep=2", "trainer.max_steps=9", "eval.every_n_steps=2"))
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    best = checkpoint.read(tmp_path / "run" / "checkpoints" / checkpoint.step_name(9))[1]["callbacks"]["Evaluate"]
    assert names == {checkpoint.step_name(n) for n in (8, 9, best["best_step"])}


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_resumed(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = tiny("checkpoint.every_n_steps=2", "checkpoint.keep=5")
    train(longer)
    whole = campaign_rig.identity(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    folder = tmp_path / "run" / "checkpoints"
    newest = folder / checkpoint.step_name(6) / checkpoint.TENSORS
    data = bytearray(newest.read_bytes())
    data[-9] ^= 1
    newest.write_bytes(data)
    capsys.readouterr()
    train(longer)
    said = capsys.readouterr().out
    assert (
        "warning: damaged checkpoint (state.safetensors differs from its checksum); set aside as damaged-step-00000006"
        in said
    )
    assert "from step 4 it continues bit for bit" in said
    assert campaign_rig.identity(tmp_path / "run") == whole


def test_a_run_in_use_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with claimed(tmp_path / "run"), pytest.raises(UsageError, match=r"process \d+ on .* is training"):
        train(tiny())


def test_output_to_a_full_device_is_5() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    code = "import sys; from microgpt.engine.commands.common import run; sys.exit(run(lambda _: print('x')))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.startswith("microgpt: error: No space left on device in the output")
    assert len(done.stderr.splitlines()) == 1
