"""Compressed texts and parquet columns: read as the plain text is, and refused in one line when damaged."""

import gzip
import json
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from microgpt.data.config import DataConfig
from microgpt.data.corpus import Corpus, prepare
from microgpt.errors import DataError, MachineError

TEXT = "né cat\nsat on a mat\n" * 9_000


@pytest.fixture
def zstandard() -> Any:
    return pytest.importorskip("zstandard", reason="needs the extra zstd")


@pytest.fixture
def pyarrow() -> Any:
    return pytest.importorskip("pyarrow", reason="needs the extra parquet")


def read(path: Path, **knobs: Any) -> Corpus:
    return prepare(DataConfig.from_dict({"path": str(path), "val_fraction": 0.0, **knobs}))


def text_of(path: Path) -> str:
    result = read(path)
    return result.tokenizer.decode(result.train)


def packer(name: str, request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    if name == "gz":
        return gzip.compress
    library = request.getfixturevalue("zstandard")
    return lambda data: library.ZstdCompressor(write_checksum=True).compress(data)


@pytest.mark.parametrize("name", ["gz", "zst"])
def test_a_compressed_text_is_the_text(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    pack, path = packer(name, request), tmp_path / f"book.txt.{name}"
    data = TEXT.encode()
    path.write_bytes(pack(data[:1001]) + pack(data[1001:]))  # two frames, cut within a line
    assert text_of(path) == TEXT
    names = read(path, documents="lines")
    assert len(names.splits["train"].starts) == 18_000  # type: ignore[attr-defined]
    folder = tmp_path / "shards"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt.{name}").write_bytes(pack(f"shard {i}\n".encode()))
    (folder / f"all.tar.{name}").write_bytes(pack(b"an archive"))
    (folder / f"picture.{name}").write_bytes(pack(b"\0\1\2"))
    assert text_of(folder) == "shard 0\nshard 1\nshard 2\n"
    assert text_of(folder / f"[01].txt.{name}") == "shard 0\nshard 1\n"
    (folder / "notes.txt").write_text("plain")
    assert text_of(folder) == "plain"  # as before compressed texts were read


@pytest.mark.parametrize("name", ["gz", "zst"])
def test_a_damaged_one_is_one_clear_line(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    whole = packer(name, request)(random.Random(0).randbytes(60_000).hex().encode())
    for content in (whole[:-9], whole[: len(whole) // 2], b"plain text", whole[:200] + b"\xff" * 50 + whole[250:]):
        path = tmp_path / f"book.{name}"
        path.write_bytes(content)
        for place in (path, tmp_path, tmp_path / f"*.{name}"):
            with pytest.raises(DataError, match=r"cannot read: .* in .*book") as caught:
                read(place)
            assert "\n" not in str(caught.value)


def test_parquet_rows_are_documents(tmp_path: Path, pyarrow: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    texts = ["e4 e5\nNf3", "d4", None, "", "c4 é"]
    table = pyarrow.table({"id": [1, 2, 3, 4, 5], "moves": texts, "long": pyarrow.array(texts, pyarrow.large_string())})
    for i in range(2):
        parquet.write_table(table, tmp_path / f"{i}.parquet", row_group_size=2)
    for column in ("moves", "long"):
        result = read(tmp_path, documents="jsonl", jsonl_key=column)
        assert result.tokenizer.decode(result.train) == "e4 e5\nNf3\nd4\nc4 é\n" * 2
    with pytest.raises(DataError, match=r"no column of texts 'text' in .*; choose .* \['moves', 'long'\]"):
        read(tmp_path / "0.parquet", documents="jsonl")
    with pytest.raises(DataError, match=r"a parquet file is no text in .*; data.documents=jsonl reads the column"):
        read(tmp_path / "0.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="no parquet file"):
        read(tmp_path / "bad.parquet", documents="jsonl")


@pytest.mark.parametrize(("name", "extra"), [("t.zst", "zstd"), ("t.parquet", "parquet")])
def test_a_missing_package_is_named(tmp_path: Path, name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_bytes(b"x")
    for module in ("zstandard", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MachineError, match=rf"not installed; pip install 'microgpt\[{extra}\]'"):
        read(tmp_path / name, documents="jsonl")


def test_documents_stream_in_little_memory(tmp_path: Path) -> None:
    """40 MB of JSON lines, compressed: memory beyond that of 1 MB stays below half of the text."""
    pytest.importorskip("resource")
    code = """
        import resource, sys
        from microgpt.data.config import DataConfig
        from microgpt.data.corpus import prepare
        result = prepare(DataConfig(path=sys.argv[1], documents="jsonl", tokenizer="char", cache_dir=sys.argv[2]))
        print(sum(len(part) for part in result.splits.values()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    peaks = []
    for count in (500, 20_000):
        path = tmp_path / f"{count}.jsonl.gz"
        line = json.dumps({"text": "".join(random.Random(0).choices("abcdefgh ", k=2_000))}) + "\n"
        with gzip.open(path, "wt", compresslevel=1) as file:
            file.writelines(line for _ in range(count))
        command = [sys.executable, "-c", textwrap.dedent(code), str(path), str(tmp_path / "cache")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        tokens, peak = map(int, done.stdout.split())
        assert tokens == count * 2_002
        peaks.append(peak * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 20_000 * 2_002
    stored = sum(f.stat().st_size for f in (tmp_path / "cache" / "encoded").iterdir())
    assert stored < 1.2 * 20_500 * 2_014  # of the decompressed text
