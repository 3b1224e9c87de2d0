"""Checkpoints on disk: a format that never changes, and manifests that are not believed."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from microgpt.engine.store import checkpoint
from microgpt.errors import CheckpointError, MachineError

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(5).bfloat16(), "empty": torch.empty(0, 3)}
STATE: dict[Any, Any] = {"global_step": 7, "moments": [(torch.arange(4.0), 0.5), None], 3: {"inf": math.inf, "x": "é"}}
INFO = {"step": 7, "config": {"model": {"n_layer": 2}}, "fingerprint": {"corpus": "0f", "vocab_size": 5}}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / checkpoint.step_name(7)
    checkpoint.write(path, WEIGHTS, STATE, INFO)
    return path


def test_the_format_is_what_it_was_to_the_byte(saved: Path) -> None:
    """Checkpoints of earlier versions are read, and theirs read ours."""
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in sorted(saved.iterdir())} == {
        "manifest.json": "3ce316ab749bd066",
        "state.json": "a546f970e83563c9",
        "state.safetensors": "7a60b3046dd4102f",
        "weights.safetensors": "4afb5a86cc258471",
    }


def test_what_was_written_is_read(saved: Path) -> None:
    weights, state = checkpoint.read(saved, {name: tuple(tensor.shape) for name, tensor in WEIGHTS.items()})
    assert weights.keys() == WEIGHTS.keys()
    for name, tensor in WEIGHTS.items():
        assert torch.equal(weights[name], tensor)
        assert weights[name].dtype == tensor.dtype
    assert torch.equal(state["moments"][0][0], torch.arange(4.0))
    assert (state["moments"][0][1], state["moments"][1], state[3]) == (0.5, None, {"inf": math.inf, "x": "é"})
    assert isinstance(state["moments"][0], tuple)
    assert checkpoint.manifest(saved)["config"] == INFO["config"]


def test_a_checkpoint_of_the_same_step_is_replaced(saved: Path) -> None:
    checkpoint.write(saved, {"a": torch.ones(2)}, {}, INFO)
    assert checkpoint.read(saved)[0].keys() == {"a"}
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"step": 8}, "manifest.json is of step 8"),
        ({"step": "7"}, "manifest.json is of step '7'"),
        ({"step": True}, "manifest.json is of step True"),
        ({"files": {}}, "manifest.json does not list the files of a checkpoint"),
        ({"files": {name: {"size": 1.5} for name in checkpoint.FILES}}, "manifest.json gives no size and sha256"),
        ({"files": dict.fromkeys(checkpoint.FILES)}, "manifest.json gives no size and sha256"),
        ({"config": []}, "manifest.json gives no config"),
        ({"config": json.loads('{"a":' * 9 + "1" + "}" * 9)}, "not a JSON object: nested too deeply"),
        ({"step": "\x1b[2J" + "x" * 1000}, "manifest.json is of step '\\x1b[2J" + "x" * 29 + "..."),
    ],
)
def test_a_manifest_of_another_form_is_damaged(saved: Path, change: dict[str, Any], reason: str) -> None:
    file = saved / checkpoint.MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(CheckpointError) as error:
        checkpoint.manifest(saved)
    assert error.value.what == f"damaged checkpoint ({reason})"
    assert error.value.where == str(saved)


def test_a_manifest_may_hold_a_config_of_eight_levels_and_nothing_but_what_is_needed(saved: Path) -> None:
    file = saved / checkpoint.MANIFEST
    values = json.loads(file.read_text())
    values["config"] = json.loads('{"a":' * 8 + "1" + "}" * 8)
    del values["fingerprint"]
    file.write_text(json.dumps(values))
    assert checkpoint.manifest(saved)["fingerprint"] == {}


@pytest.mark.parametrize("name", checkpoint.FILES)
def test_a_flipped_bit_anywhere_is_found(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    for place in range(0, len(content), max(1, len(content) // 20)):
        (saved / name).write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(CheckpointError, match=rf"damaged checkpoint \({name}"):
            checkpoint.read(saved)


def test_bombs_for_a_state_end_in_one_error(saved: Path) -> None:
    for bomb in (b'{"tuple": ' + b"[" * 500_000 + b"]" * 500_000 + b"}", b'{"items": [[1, 2, 3]]}', b"[]", b"\xff"):
        (saved / checkpoint.STATE).write_bytes(bomb)
        file = saved / checkpoint.MANIFEST
        values = json.loads(file.read_text())
        values["files"][checkpoint.STATE] = {"size": len(bomb), "sha256": hashlib.sha256(bomb).hexdigest()}
        file.write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match="damaged checkpoint") as error:
            checkpoint.read(saved)
        assert len(str(error.value).splitlines()) == 1


def test_what_may_not_be_read_is_not_damaged(saved: Path) -> None:
    (saved / checkpoint.WEIGHTS).chmod(0)
    is_root = os.geteuid() == 0  # who may read every file
    if is_root:
        for folder in (saved, *saved.parents[:4]):
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(MachineError, match="cannot read the checkpoint"):
            checkpoint.verify(saved)
    finally:
        if is_root:
            os.seteuid(0)


def test_the_newest_that_verifies_is_found_and_damaged_ones_are_moved_aside(saved: Path) -> None:
    folder = saved.parent
    for step in (8, 9):
        checkpoint.write(folder / checkpoint.step_name(step), WEIGHTS, STATE, INFO | {"step": step})
    (folder / "step-00000009" / checkpoint.WEIGHTS).unlink()
    found = list(checkpoint.newest_valid(folder))
    assert [(path.name, error is None) for path, error in found] == [("step-00000009", False), ("step-00000008", True)]
    for expected in ("damaged-step-00000009", "damaged-step-00000009-1"):
        assert checkpoint.set_aside(folder / "step-00000009").name == expected
        checkpoint.write(folder / "step-00000009", WEIGHTS, STATE, INFO | {"step": 9})
    assert [path.name for path in checkpoint.checkpoints(folder)] == [checkpoint.step_name(step) for step in (9, 8, 7)]


def test_pruning_keeps_the_newest_and_the_best(saved: Path) -> None:
    folder = saved.parent
    for step in range(8, 12):
        checkpoint.write(folder / checkpoint.step_name(step), WEIGHTS, STATE, INFO | {"step": step})
    (folder / ".tmp-step-00000012.abcd").mkdir()
    checkpoint.prune(folder, keep=2, best=7)
    assert sorted(path.name for path in folder.iterdir()) == [checkpoint.step_name(step) for step in (7, 10, 11)]
