"""Files of tokens: what is read as it is, and one clear line for everything else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from microgpt import train
from microgpt.config import ConfigError
from microgpt.data.config import DataConfig
from microgpt.data.corpus import prepare
from microgpt.data.tokenizer import tokenizer_from_dict
from microgpt.data.tokenizer.ids import IdsTokenizer
from microgpt.engine.commands import evaluate as evaluate_command
from microgpt.engine.commands import generate as generate_command
from microgpt.errors import CheckpointError, DataError, UsageError

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


def prepared(path: Path, **knobs: Any) -> Any:
    return prepare(DataConfig.from_dict({"path": str(path), "tokenizer": "ids", "vocab_size": None, **knobs}))


def saved(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".bin":
        array.tofile(path)
    else:
        save_file({"ids": array}, path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".bin", ".safetensors"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "int64"])
def test_integers_of_every_type_and_format_are_read_as_they_are(tmp_path: Path, suffix: str, dtype: str) -> None:
    path = saved(tmp_path / f"ids{suffix}", np.array(IDS * 500, dtype))
    corpus = prepared(path, val_fraction=0.25, dtype=dtype)
    assert corpus.train.tolist() + corpus.val.tolist() == IDS * 500
    assert (len(corpus.val), corpus.tokenizer.vocab_size) == (1500, 10)
    assert corpus.train.numpy().dtype.itemsize == np.dtype(dtype).itemsize  # mapped, not converted
    batch = corpus.windows(DataConfig(), 8, seed=0).batch(0)[0]
    assert (batch.dtype, batch.shape) == (torch.int64, (64, 8))
    assert prepared(path, vocab_size=50_257, dtype=dtype).tokenizer.vocab_size == 50_257


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.0, 2.0]), "numbers of type float64 in .*; save integers"),
        (np.array([True, False]), "numbers of type bool"),
        (np.array([[1, 2], [3, 4]]), r"an array of shape \(2, 2\) in .*; save one row"),
        (np.array(3), r"an array of shape \(\)"),
        (np.array([], np.int64), "no tokens in"),
        (np.array([], np.float64), "numbers of type float64"),
        (np.array([1, 2, -3]), "token -3 at position 2 is negative"),
        (np.array([1, 1 << 40, 2]), "token 1099511627776 at position 1 is outside the vocabulary of 16,777,216"),
        (np.array([1, 2], ">i4"), "big-endian numbers"),
        (np.array(["a"]), "numbers of type <U1"),
        (np.array([{}], object), "no array of tokens"),
    ],
)
def test_an_array_of_anything_else_is_one_clear_line(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "ids.npy", array)
    with pytest.raises(DataError, match=message) as caught:
        prepared(tmp_path / "ids.npy")
    assert "\n" not in str(caught.value)


HEADERS: list[Any] = [
    [], {}, {"a": 3}, {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    {"a": {"dtype": "I32", "shape": [3], "data_offsets": [0, 8]}},
    {"a": {"dtype": "I32", "shape": [200], "data_offsets": [0, 800]}},
    {"a": {"dtype": "I32", "shape": [-2], "data_offsets": [8, 0]}},
    {"a": {"dtype": "I32", "shape": [1 << 62, 4], "data_offsets": [0, 8]}},
    {"a": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "I32"}},
]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\x93NUMPY", b"\xff" * 40, *(json.dumps(header).encode() for header in HEADERS)],
    ids=lambda content: content[:40].hex(),
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ids.npy").write_bytes(content)
    (tmp_path / "ids.safetensors").write_bytes(len(content).to_bytes(8, "little") + content + b"\0" * 8)
    for name in ("ids.npy", "ids.safetensors"):
        with pytest.raises(DataError, match=r"no array of tokens|no tokens") as caught:
            prepared(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_raw_files_need_their_type_and_tokens_within_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "train.bin"
    np.array(IDS, "uint8")[:5].tofile(path)
    with pytest.raises(DataError, match=r"5 bytes are no whole number of uint16; data.dtype="):
        prepared(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="no tokens"):
        prepared(path)
    np.array([50_256, 7], "uint16").tofile(path)
    assert prepared(path).tokenizer.vocab_size == 50_257  # nanoGPT's own
    fix = "token 50256 at position 0 is outside the vocabulary of 1,024 .* raise data.vocab_size, or null"
    with pytest.raises(DataError, match=fix):
        prepared(path, vocab_size=1024)
    with pytest.raises(DataError, match="name tokens of the model's own vocabulary"):
        prepare(DataConfig(path=str(path)), IdsTokenizer(50_256))


def test_other_uses_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "book.txt"
    text.write_text("1 2 3")
    with pytest.raises(DataError, match=r"no file of tokens: .txt in .*; name one of .npy, .bin, .safetensors"):
        prepared(text)
    with pytest.raises(DataError, match=r"no file of tokens in data\.path"):
        prepare(DataConfig(corpus="tokens", tokenizer="ids", vocab_size=None))
    with pytest.raises(UsageError, match="documents of tokens"):
        prepared(text, documents="lines")
    for size in (None, 255):
        with pytest.raises(ConfigError, match=f"{size} where tokenizer=bpe needs 256 at least"):
            DataConfig(tokenizer="bpe", vocab_size=size)


def test_the_tokenizer_writes_and_reads_numbers() -> None:
    tokenizer = IdsTokenizer(300)
    assert tokenizer.encode(" 17 4\n0 299 ") == [17, 4, 0, 299]
    assert tokenizer.decode([17, 4, 299]) == "17 4 299"
    assert tokenizer_from_dict(tokenizer.to_dict()) == tokenizer
    for word in ("300", "-1", "1.5", "a", "\u0663", "9" * 5000):
        with pytest.raises(DataError, match=r"is no token of this vocabulary .* from 0 to 299"):
            tokenizer.encode(f"1 {word}")
    for size in (0, None, 1 << 30, True):
        with pytest.raises(CheckpointError):
            tokenizer_from_dict({**tokenizer.to_dict(), "vocab_size": size})


def test_a_model_of_tokens_trains_scores_and_prints_tokens(
    tiny: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "ids.npy", np.array([0, 700, 3] * 900, np.int32))
    knobs = ("data=tokens", "trainer.max_steps=60", "optim=adamw", "optim.lr=0.02")
    run = train([*tiny(*knobs), f"data.path={path}"])
    assert run is not None
    assert run.tokenizer.vocab_size == 701
    folder = str(tmp_path / "run")
    capsys.readouterr()
    assert generate_command.main([folder, "--prompt", "3 0", "--greedy", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out == "3 0 700 3 0 700 3\n"
    assert generate_command.main([folder, "--greedy", "--max-new-tokens", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["texts"] == [" 700 3"]  # after token 0
    assert generate_command.main([folder, "--prompt", "the"]) == 3
    assert "'the' is no token of this vocabulary" in capsys.readouterr().err
    assert evaluate_command.main([folder, "--data", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"] == 2699
    assert found["loss"] < 0.2
