"""What killed writers leave is removed by the next, and never what may live."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from microgpt import files, leftovers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process began")
WRITERS = {
    "file": "with files.replacing(path) as hidden: hidden.write_bytes(b'x'); wait()",
    "stream": "with files.writing(path) as file: file.write(b'x'); wait()",
    "folder": "with files.new_folder(path) as hidden: (hidden / 'weights').write_bytes(b'x'); wait()",
    "removal": "path.mkdir(); (path / 'a').touch(); files.shutil.rmtree = wait; files.remove_folder(path)",
    "model": "from microgpt import GPT, GPTConfig; from microgpt.model.files import folder; "
    "folder.save_file = lambda weights, path, **_: (path.touch(), wait()); "
    "folder.save_model(path, GPT(GPTConfig(), 3), {})",
}
"""Code that stops in the middle of each way of writing."""
WAIT = "import sys, time; from pathlib import Path; from microgpt import files; path = Path(sys.argv[1]); \n"
WAIT += "def wait(*args, **kwargs):\n    print('in the middle', flush=True)\n    time.sleep(600)\n"


@pytest.fixture(params=WRITERS)
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the middle of writing `tmp_path/out`."""
    code = WAIT + WRITERS[request.param]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in the middle\n"
        yield process
        process.kill()


def hidden(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".tmp-*"))


def test_a_writer_that_lives_is_left_alone_and_one_that_is_dead_is_cleared(
    writer: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    (found, *_) = there = hidden(tmp_path)
    files.write(found.parent / "another", "x")
    assert hidden(tmp_path) == there
    writer.send_signal(signal.SIGSTOP)  # it may go on
    files.write(found.parent / "another", "x")
    assert hidden(tmp_path) == there
    writer.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while hidden(tmp_path) and time.monotonic() < deadline:  # not even reaped
        files.write(found.parent / "another", "x")
    assert hidden(tmp_path) == []


def test_only_what_is_provably_dead_is_dead() -> None:
    mine = leftovers.hidden_beside(Path("out")).name
    place, pid, start = mine.split(".")[-2].rsplit("-", 2)
    assert (int(pid), mine.startswith(".tmp-out.")) == (os.getpid(), True)
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    gone = process.pid
    names = {
        mine: False,
        f".tmp-out.{place}-{pid}-{int(start) + 1}.00000000": True,  # the number is another process's now
        f".tmp-out.{place}-{gone}-{start}.00000000": True,
        f".tmp-a.b\nc.{place}-{gone}-{start}.0123abcd": True,
        f".tmp-out.000000000000x1-{gone}-{start}.00000000": False,  # on another machine
        f".tmp-out.{place}-{10**30}-{start}.00000000": False,
        ".tmp-out.0123abcd": False,  # of an earlier version, or a user's own
        ".tmp-notes.txt": False,
        f"out.{place}-{gone}-{start}.00000000": False,
    }
    assert {name: leftovers.is_dead(name) for name in names} == names
    assert leftovers.is_dead(f".tmp-out.{place}-1-{int(leftovers._start(1) or 0)}.00000000") is False


def test_a_user_s_own_files_stay_and_links_are_not_followed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    dead = leftovers.hidden_beside(Path("x")).name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    (tmp_path / ".tmp-mine").touch()
    (tmp_path / dead).symlink_to(tmp_path / "mine")
    files.write(tmp_path / "a", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-mine", "a", "mine"]
    assert (tmp_path / "mine" / "precious").exists()


def test_where_the_system_does_not_tell_nothing_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    dead = leftovers.hidden_beside(Path("x")).name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    assert leftovers.is_dead(dead)
    monkeypatch.setattr(leftovers, "_place", lambda: "")
    assert not leftovers.is_dead(dead)
    assert leftovers.hidden_beside(Path("x")).name.count(".") == 2  # .tmp-x and the random part


def test_long_names_in_any_script_have_a_temporary_name(tmp_path: Path) -> None:
    for name in ("a" * 255, "é" * 127, "🎩" * 63):
        files.write(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
    assert hidden(tmp_path) == []
