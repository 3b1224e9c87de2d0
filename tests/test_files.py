"""Files: the old content or the new one at every instant, hashes of what is there, JSON that cannot do harm."""

import ast
import contextlib
import errno
import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microgpt import files

SOURCES = Path(files.__file__).parent
OLD, NEW = b"the old content", b"the new content, which is longer"


class Disk:
    """Counts the calls that open, write, flush, rename and make; runs `fail` before call number `failing`."""

    def __init__(self, failing: int, fail: Callable[[], None]) -> None:
        self.failing, self.fail, self.calls = failing, fail, 0

    def hit(self) -> None:
        self.calls += 1
        if self.calls == self.failing:
            self.fail()


@contextlib.contextmanager
def disk(failing: int, fail: Callable[[], None]) -> Iterator[Disk]:
    found = Disk(failing, fail)

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:  # a part at a time, as raw writes may
            found.hit()
            return super().write(memoryview(data)[:7])

    def opened(path: Path, mode: str, buffering: int = -1) -> Raw:
        found.hit()
        return Raw(path, mode)

    def counted(call: Any) -> Any:
        return lambda *a, **k: (found.hit(), call(*a, **k))[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        patch.setattr(os, "fsync", counted(os.fsync))
        for name in ("replace", "rename", "mkdir"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        yield found


def put(path: Path, data: bytes) -> None:
    """Write a file by calls that are not counted."""
    with io.FileIO(path, "w") as file:
        file.write(data)


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted() -> None:
    raise KeyboardInterrupt


def at_every_call(place: Path, work: Callable[[], None], check: Callable[[], None], fail: Callable[[], None]) -> int:
    """Do `work` with a failure at each of its calls in turn; returns how many there are."""
    for failing in itertools.count(1):
        with disk(failing, fail) as found:
            try:
                work()
                failed = False
            except (OSError, KeyboardInterrupt):
                failed = True
        if found.calls < failing:
            assert not failed
            return failing - 1
        assert failed, f"call {failing} failed without a word"
        check()
        assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []
    raise AssertionError


@pytest.mark.parametrize("fail", [full, interrupted])
def test_a_failed_write_leaves_the_old_file_or_the_new_one(tmp_path: Path, fail: Callable[[], None]) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    seen = set()

    def check() -> None:
        seen.add(path.read_bytes())
        path.write_bytes(OLD)

    # It is opened, written in five parts, flushed twice, renamed, and its folder flushed: only the last may come late.
    assert at_every_call(tmp_path, lambda: files.write(path, NEW), check, fail) == 10
    assert seen == {OLD, NEW}
    assert path.read_bytes() == NEW


@pytest.mark.parametrize("fail", [full, interrupted])
def test_a_failed_folder_is_whole_or_absent(tmp_path: Path, fail: Callable[[], None]) -> None:
    path = tmp_path / "folder"

    def work() -> None:
        with files.new_folder(path) as hidden:
            for name in ("a", "b"):
                with files.HashedFile(hidden / name) as file:
                    file.write(NEW)

    def check() -> None:
        if path.exists():
            assert {file.name: file.read_bytes() for file in path.iterdir()} == {"a": NEW, "b": NEW}
            files.remove_folder(path)

    assert at_every_call(tmp_path, work, check, fail) > 15
    assert (path / "b").read_bytes() == NEW


def test_several_files_take_their_names_together_or_from_the_first(tmp_path: Path) -> None:
    """Nested blocks rename from the inside out, so that a failure leaves a first part of them replaced."""
    names = ["first", "second", "third"]
    for name in names:
        (tmp_path / name).write_bytes(OLD)
    states = set()

    def work() -> None:
        with contextlib.ExitStack() as stack:
            hidden = [stack.enter_context(files.replacing(tmp_path / name)) for name in reversed(names)]
            for path in hidden:
                put(path, NEW)

    def check() -> None:
        states.add(tuple((tmp_path / name).read_bytes() == NEW for name in names))
        for name in names:
            put(tmp_path / name, OLD)

    at_every_call(tmp_path, work, check, full)
    assert states == {(False,) * 3, (True, False, False), (True, True, False), (True,) * 3}


def test_a_process_that_dies_in_a_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path, died = tmp_path / "file", 0
    for failing in range(1, 12):
        path.write_bytes(OLD)
        pid = os.fork()
        if not pid:
            with disk(failing, lambda: os._exit(9)):
                files.write(path, NEW)
            os._exit(0)
        died += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        assert path.read_bytes() in (OLD, NEW)
        files.remove_leftovers(tmp_path)
        assert [left.name for left in tmp_path.iterdir()] == ["file"]
    assert died == 10


def test_writers_at_once_never_mix_their_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    pids = []
    for letter in b"abcd":
        if not (pid := os.fork()):
            for _ in range(50):
                files.write(path, bytes([letter]) * 30_000)
            os._exit(0)
        pids.append(pid)
    seen = 0
    while any(os.waitpid(pid, os.WNOHANG)[0] == 0 for pid in pids[-1:]):
        if path.exists():
            content = path.read_bytes()
            assert len(content) == 30_000
            assert len(set(content)) == 1
            seen += 1
    for pid in pids[:-1]:
        assert os.waitpid(pid, 0)[1] == 0
    assert seen > 0
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_a_file_may_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    files.write(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_text_is_utf8_and_lines_end_as_they_are_given(tmp_path: Path) -> None:
    files.write(tmp_path / "file", "naïve\r\n日本\n")
    assert (tmp_path / "file").read_bytes() == "naïve\r\n日本\n".encode()


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-folder").mkdir()
    (tmp_path / ".tmp-folder" / "file").write_text("x")
    (tmp_path / ".tmp-file").write_text("x")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / ".tmp-inner").write_text("x")
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "kept")
    files.remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["kept", "kept/.tmp-inner"]


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_hashes_are_sha256_of_the_whole(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("hash") / "file"
    with files.writing(path) as file:
        for piece in pieces:
            file.write(piece)
    expected = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert file.sha256 == files.sha256(path) == files.sha256_of(pieces) == expected
    assert file.size == path.stat().st_size == len(b"".join(pieces))


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(ValueError, match=r"^not a JSON object: ") as error:
        files.parse_object(data, **options)
    return str(error.value).removeprefix("not a JSON object: ")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": ' + b"[" * 900_000 + b"]" * 900_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", "nested too deeply"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested too deeply"),
        (b'{"a": [' + b"[]," * 1_000_001 + b"0]}", "too many lists"),
        (b'{"a": 1, "b": 2, "a": 3}', "a key stands twice"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": -Infinity}', "-Infinity is no JSON"),
        (b"[1]", "it is a list"),
        (b"null", "it is a NoneType"),
    ],
)
def test_bombs_and_what_is_no_object_end_in_one_clear_error(data: bytes, reason: str) -> None:
    start = time.perf_counter()
    assert refusal(data) == reason
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": \xff}', b'\xef\xbb\xbf{"a": 1}', b'{"a": ' + b"9" * 5000 + b"}"])
def test_text_that_is_no_json_is_refused(data: bytes) -> None:
    assert len(refusal(data).splitlines()) == 1


def test_depth_is_counted_in_levels() -> None:
    assert files.parse_object(b'{"a": [[1]]}', depth=3) == {"a": [[1]]}
    assert refusal(b'{"a": [[1]]}', depth=2) == "nested too deeply"
    assert files.parse_object(b'{"a": ' + b"[" * 99 + b"]" * 99 + b"}")["a"]
    assert files.parse_object(b"{}", depth=1) == {}


def test_infinities_are_read_where_the_caller_says_so() -> None:
    assert files.parse_object(b'{"a": -Infinity}', allow_nan=True) == {"a": float("-inf")}


@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
    )
)
def test_what_python_writes_is_read_back(value: dict[str, Any]) -> None:
    assert files.parse_object(json.dumps(value).encode()) == value


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text('{"a": 1}')
    assert files.read_json(path, 8) == {"a": 1}
    with pytest.raises(ValueError, match=r"^8 bytes, more than the 7 that it may have$"):
        files.read_json(path, 7)
    os.truncate(path, 1 << 40)  # sparse: reading it would take the memory of any machine
    with pytest.raises(ValueError, match=r"^1,099,511,627,776 bytes, more than the 7 that"):
        files.read_json(path, 7)


def test_pipes_devices_and_folders_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            files.read_capped(path, 10)
    with pytest.raises(FileNotFoundError):
        files.read_capped(tmp_path / "absent", 10)


HERE_ALONE = {
    "os.fsync", "os.replace", "os.rename", "os.renames", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp",
    "tempfile.NamedTemporaryFile", "tempfile.TemporaryDirectory", "hashlib.sha256", "hashlib.file_digest",
    "hashlib.new", "hashlib.md5", "hashlib.sha1", "json.load", "json.loads", "json.JSONDecoder",
}  # fmt: skip
"""What only files.py may call."""
EXEMPT = {
    ("data/tokenizer/documents.py", "json.loads"): "a text that the library `tokenizers` has written",
    ("data/tokenizer/hf_coverage.py", "json.loads"): "a text that the library `tokenizers` has written",
    ("engine/exchange/page/assemble.py", "json.loads"): "a text of ours",
    ("engine/exchange/page/tokenizers.py", "json.loads"): "a text that the library `tokenizers` has written",
    ("engine/exchange/gguf_vocabulary.py", "json.loads"): "a text that the library `tokenizers` has written",
    ("data/token_files.py", "json.loads"): "the header of a tensor file, whose size is checked before",
    ("engine/exchange/page/assemble.py", "hashlib.sha256"): "of the page's script, not of a file",
    ("data/document_format.py", "json.loads"): "a line of the user's own corpus, which may be of any size",
    ("engine/notebook.py", "tempfile.mkdtemp"): "a run's folder for as long as the notebook keeps the run",
    ("inspect/transformer_lens.py", "tempfile.TemporaryDirectory"): "an export that another library reads once",
    ("engine/store/checkpoint/verifying.py", "Path.rename"): "a damaged checkpoint is moved aside, not written",
}


def breaches(source: str) -> list[str]:
    """The names of `HERE_ALONE`, and of renames of a path, that a source calls or imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found += [name for alias in node.names if (name := f"{node.module}.{alias.name}") in HERE_ALONE]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [name] if (name := f"{node.value.id}.{node.attr}") in HERE_ALONE else []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("rename", "replace")
            and len(node.args) == 1  # that of a text takes two, that of a dataclass has keywords
            and not node.keywords
            and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "os")
        ):
            found.append(f"Path.{node.func.attr}")
    return found


def test_files_are_written_hashed_and_parsed_in_one_place() -> None:
    found = {
        (str(path.relative_to(SOURCES)), name)
        for path in SOURCES.rglob("*.py")
        for name in breaches(path.read_text(encoding="utf-8"))
        if path != Path(files.__file__)
    }
    assert found == set(EXEMPT)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import os\nos.fsync(3)\nhidden.replace(path)", ["os.fsync", "Path.replace"]),
        ("from json import loads", ["json.loads"]),
        ("import hashlib\nhashlib.sha256(data)", ["hashlib.sha256"]),
        ("text.replace('a', 'b')\ndataclasses.replace(config, n=1)\njson.dumps(1)", []),
    ],
)
def test_a_planted_breach_is_found(source: str, names: list[str]) -> None:
    assert sorted(breaches(source)) == sorted(names)
