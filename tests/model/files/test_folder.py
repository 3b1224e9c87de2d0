"""A model folder comes back as it was, and whatever is wrong with one is a CheckpointError that says what and where."""

import contextlib
import hashlib
import json
import os
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from microgpt import GPT
from microgpt.errors import CheckpointError, MachineError
from microgpt.files import sha256
from microgpt.model import load_model, save_model
from microgpt.model.files.folder import _digest

TOKENIZER = {"type": "char", "characters": "abc\u00e9\n"}


@pytest.fixture
def folder(tmp_path: Path, make_gpt: Callable[..., GPT]) -> Path:
    save_model(tmp_path / "model", make_gpt(), TOKENIZER)
    return tmp_path / "model"


def refuse(folder: str | Path, message: str) -> None:
    began = time.perf_counter()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(folder)
    assert time.perf_counter() - began < 2
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    assert caught.value.where
    assert caught.value.fix


def edit(folder: Path, sign: bool = True, **changes: Any) -> None:
    """Change config.json as one who can also make its hash right."""
    config = json.loads((folder / "config.json").read_text())
    model = changes.pop("model", {})
    config.update(changes)
    if isinstance(model, dict):
        config["model"].update(model)
    else:
        config["model"] = model
    if sign:
        config["config_sha256"] = _digest(config)
    (folder / "config.json").write_text(json.dumps(config))


def forge(folder: Path, header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> None:
    """Put a hand-made weights file in place."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = struct.pack("<Q", len(text) if length is None else length)
    (folder / "model.safetensors").write_bytes(size + text + data)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(
    "knobs", [{}, {"tie_weights": True, "pos": "t5"}, {"ngram_embed": 9, "prev_embed": 2, "resid_scale": True}]
)
def test_a_model_comes_back_bit_for_bit(
    tmp_path: Path, make_gpt: Callable[..., GPT], ids: Callable[..., Tensor], dtype: torch.dtype, knobs: dict[str, Any]
) -> None:
    model = make_gpt(**knobs).to(dtype)
    save_model(tmp_path / "model", model, TOKENIZER)
    again, tokenizer, config = load_model(tmp_path / "model")
    assert tokenizer == TOKENIZER
    assert config["vocab_size"] == 11
    assert again.config == model.config
    assert not again.training
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in model.named_parameters()]
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
        assert b.requires_grad
    assert torch.equal(model(ids(2, 9))[0], again(ids(2, 9))[0])
    again.train()(ids(2, 9), ids(2, 9))[1].backward()


def test_the_folder_holds_three_readable_files(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    config = json.loads((folder / "config.json").read_text())
    assert config["model"]["pos"] == {"name": "rope", "theta": 10000.0, "fraction": 1.0}
    assert config["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1


def test_tied_weights_are_stored_once(tmp_path: Path, make_gpt: Callable[..., GPT]) -> None:
    save_model(tmp_path, make_gpt(tie_weights=True), {})
    assert "head.weight" not in load_file(tmp_path / "model.safetensors")


def test_a_moved_folder_still_loads(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "elsewhere")
    assert load_model(str(tmp_path / "elsewhere"))[0].vocab_size == 11


def test_weights_do_not_follow_the_file(folder: Path) -> None:
    model, _, _ = load_model(folder)
    before = model.wte.weight.clone()
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4000, os.SEEK_END)
        file.write(b"\xff" * 4000)
    assert torch.equal(model.wte.weight, before)


def test_a_save_cut_off_at_any_rename_leaves_a_model(
    tmp_path: Path, make_gpt: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_gpt(seed=1), make_gpt(seed=2)
    rename = type(tmp_path).replace
    for survivors in range(4):
        folder = tmp_path / str(survivors)
        save_model(folder, old, TOKENIZER)
        done: list[Any] = []

        def replace(path: Path, target: Any, done: Any = done, survivors: int = survivors) -> Any:
            if len(done) == survivors:
                raise KeyboardInterrupt
            done.append(target)
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(type(tmp_path), "replace", replace)
            with contextlib.suppress(KeyboardInterrupt):
                save_model(folder, new, TOKENIZER)
        assert len(done) == survivors
        expected = new if survivors == 3 else old
        assert torch.equal(load_model(folder)[0].wte.weight, expected.wte.weight)
        assert len(list(folder.iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_a_machine_error(tmp_path: Path, make_gpt: Callable[..., GPT]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot save the model"):
        save_model(tmp_path / "file" / "model", make_gpt(), {})


def test_every_flipped_byte_is_detected(folder: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for _ in range(60):
            place = int(torch.randint(len(content), (1,), generator=draw))
            bit = 1 << int(torch.randint(8, (1,), generator=draw))
            path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            try:
                load_model(folder)
            except CheckpointError:
                continue
            # Blanks between the parts of a JSON file may change without changing what it says.
            assert path.name == "config.json"
            assert json.loads(path.read_bytes()) == json.loads(content)
        path.write_bytes(content)
    load_model(folder)


def test_every_truncated_file_is_detected(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for keep in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 2):
            path.write_bytes(content[:keep])
            refuse(folder, re.escape(path.name))
        path.write_bytes(content + b" ")
        if path.name != "config.json":
            refuse(folder, re.escape(path.name))
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_or_special_file_is_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    refuse(folder, f"no such file: .*{name}")
    (folder / name).mkdir()
    refuse(folder, f"not a regular file in .*{name}")
    (folder / name).rmdir()
    os.mkfifo(folder / name)
    refuse(folder, f"not a regular file in .*{name}")
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    refuse(folder, f"not a regular file in .*{name}")
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    load_model(folder)


@pytest.mark.parametrize("where", ["https://example.org/model", "/no/such/folder", "s3://bucket/x"])
def test_a_folder_that_is_none_is_refused(where: str) -> None:
    refuse(where, "no such folder")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe{}",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"\x80\x04\x95cposix\nsystem\n",
        b"{}",
    ],
    ids=repr,
)
def test_bad_json_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    refuse(folder, name)


def test_huge_json_is_not_read(folder: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        content = (folder / name).read_bytes()
        with (folder / name).open("wb") as file:
            file.truncate(1 << 40)
        refuse(folder, "bytes, more than")
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2, and this version reads 1"),
        ({"format": None}, "format"),
        ({"vocab_size": 12}, r"wte.weight has the shape \(11, 16\), the config says \(12, 16\)"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"vocab_size": True}, "vocab_size"),
        ({"vocab_size": "11"}, "vocab_size"),
        ({"vocab_size": 10**400}, "cannot be"),
        ({"vocab_size": 10**12}, "cannot be"),
        ({"extra": 1}, "the key 'extra' is unknown"),
        ({"model": []}, "model is not a group of knobs"),
        ({"model": {"n_layer": 10**9}}, "cannot be"),
        ({"model": {"n_layer": 3}}, "weights are missing: 'blocks.2"),
        ({"model": {"n_layer": 1}}, "weights are unknown: 'blocks.1"),
        ({"model": {"n_embd": 10**12, "n_head": 4}}, "cannot be"),
        ({"model": {"n_embd": 24}}, r"shape .* the config says \(11, 24\)"),
        ({"model": {"n_embd": 10**400}}, "model"),
        ({"model": {"n_embd": 1e400}}, "model|JSON"),
        ({"model": {"n_kv_head": 2}}, "blocks.0.attn.qkv.weight has the shape"),
        ({"model": {"mlp": "swiglu"}}, "has the shape"),
        ({"model": {"mlp_hidden": 10**15}}, "has the shape|no such model"),
        ({"model": {"mlp_hidden": 10**30}}, "mlp_hidden: 10+ is not a number that fits"),
        ({"model": {"block_size": 10**9}}, "block_size 1000000000 is too much"),
        ({"model": {"block_size": 10**30}}, "block_size: 10+ is not a number that fits"),
        ({"model": {"ngram_embed": 10**14}}, "weights are missing: 'ngram"),
        ({"model": {"pos": "learned"}}, "weights are missing: 'pos.wpe.weight'"),
        ({"model": {"pos": {"name": "t5", "num_buckets": 10**14, "max_distance": 10**15}}}, "missing: 'pos.table"),
        ({"model": {"pos": "../../x"}}, "model.pos: no position scheme '../../x'"),
        ({"model": {"pos": {"name": "rope", "_target_": "os.system"}}}, "model.pos._target_: unknown key"),
        ({"model": {"tie_weights": True}}, "weights are unknown: 'head.weight'"),
        ({"model": {"n_head": 3}}, "n_embd 16 is not a multiple of n_head 3"),
        ({"model": {"dropout": 2}}, "model.dropout"),
        ({"model": {"surprise": 1}}, "model.surprise: unknown key"),
        ({"model": {"norm": "x" * 200_000}}, "model.norm"),
        ({"model": {"a\x1b[2J\u202eb\nc": 1}}, "model.a\ufffd\\[2J\ufffdb"),
        ({"weights_sha256": "0" * 64}, "sha256 is not the one"),
        ({"weights_sha256": None}, "sha256 is not the one"),
        ({"tokenizer_sha256": {}}, "sha256 is not the one"),
    ],
    ids=lambda x: str(x)[:60] if isinstance(x, dict) else "",
)
def test_a_config_that_is_not_of_these_weights_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    refuse(folder, message)


def test_an_edited_config_is_refused(folder: Path) -> None:
    edit(folder, sign=False, model={"n_head": 2})
    refuse(folder, "config_sha256 differs")


def test_a_model_that_asks_for_the_default_knobs_cannot_hide_a_missing_key(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder, "the key 'vocab_size' is missing")


def entry(shape: Any, dtype: Any = "F32", offsets: tuple[int, ...] = (0, 0)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        (b"", b"", None, "no safetensors header"),
        (b"{}", b"", 1 << 60, "a header of"),
        (b"{}", b"", (1 << 64) - 1, "a header of"),
        (b"[]", b"", None, "no safetensors header"),
        (b"[" * 100_000, b"", None, "no safetensors header"),
        (b'{"a": 1}', b"", None, "the header's entry for 'a' is malformed"),
        ({"a": entry([2, 2])}, b"\0" * 15, None, "its header describes"),
        ({"a": entry([-1])}, b"", None, "malformed"),
        ({"a": entry([True])}, b"", None, "malformed"),
        ({"a": entry([1] * 9)}, b"", None, "malformed"),
        ({"a": entry("x")}, b"", None, "malformed"),
        ({"a": entry([10**30])}, b"", None, "its header describes"),
        ({"a": entry([0], dtype=7)}, b"", None, "malformed"),
        ({f"x{i}": entry([0], "I8") for i in range(20)}, b"0" * 999, None, "weights of type I8"),
        ({f"../../x{i}": entry([0]) for i in range(20)}, b"", None, "weights are missing"),
        ({"a\x1b[2J\u202e\n": 1}, b"", None, r"'a\\x1b\[2J\\u202e\\n' is malformed"),
        (b"\x80\x04\x95 pickle", b"", None, "no safetensors header"),
    ],
)
def test_a_forged_weights_file_is_refused(folder: Path, header: Any, data: Any, length: int, message: str) -> None:
    forge(folder, header, data, length)
    edit(folder, weights_sha256=sha256(folder / "model.safetensors"))
    refuse(folder, message)


def resign(folder: Path, tensors: Any) -> None:
    save_file(tensors, folder / "model.safetensors")
    edit(folder, weights_sha256=sha256(folder / "model.safetensors"))


def test_names_shapes_and_types_are_those_of_the_config(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    resign(folder, {**tensors, "../../x": torch.zeros(1)})
    refuse(folder, "1 weights are unknown: '../../x'")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]
    resign(folder, {name: t for name, t in tensors.items() if name != "norm.weight"})
    refuse(folder, "1 weights are missing: 'norm.weight'")
    resign(folder, {**tensors, "norm.weight": torch.zeros(17)})
    refuse(folder, "norm.weight has the shape")
    resign(folder, {**tensors, "norm.weight": torch.zeros(16, 1)})
    refuse(folder, "norm.weight has the shape")
    resign(folder, {**tensors, "norm.weight": torch.zeros(16, dtype=torch.bfloat16)})
    refuse(folder, "weights of type BF16, F32")
    resign(folder, {name: t.long() for name, t in tensors.items()})
    refuse(folder, "weights of type I64")
    resign(folder, tensors)
    load_model(folder)


def test_overlapping_offsets_are_refused(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    names = [n for n in header if n != "__metadata__"]
    header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]
    forge(folder, header, content[8 + length :])
    edit(folder, weights_sha256=sha256(folder / "model.safetensors"))
    refuse(folder, "model.safetensors")
