"""Downloads: nothing gets its name before it is verified. The server is local; the package speaks https alone."""

import hashlib
import http.server
import io
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from microgpt.data import download
from microgpt.data.download import fetch
from microgpt.errors import DataError

TEXT = b"Once upon a time\n" * 1000
SIZE = len(TEXT)
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def serve() -> Iterator[tuple[str, dict[str, Any]]]:
    """A server of `pages`, a dict from path to (status, headers, body); yields its address and the pages."""
    pages: dict[str, Any] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", pages
        server.shutdown()
        thread.join()


def get(url: str, folder: Path, size: int = SIZE, sha256: str = SHA256) -> Any:
    return fetch("tale", url, folder, size, sha256, opener=lambda address: urllib.request.urlopen(address, timeout=5))


def zipped(**members: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_text_is_downloaded_once_and_verified(
    serve: tuple[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, pages = serve
    pages["/t.txt"] = (200, {}, TEXT)
    path = get(f"{address}/t.txt", tmp_path / "new")
    assert path.read_bytes() == TEXT
    assert capsys.readouterr().err == "downloading tale of 0.0 MB\n"
    pages.clear()
    assert get(f"{address}/t.txt", tmp_path / "new") == path
    assert list((tmp_path / "new").iterdir()) == [path]
    assert capsys.readouterr().err == ""


def test_progress_is_one_rewritten_line_on_a_terminal(
    serve: tuple[str, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, pages = serve
    pages["/t.txt"] = (200, {}, TEXT)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    get(f"{address}/t.txt", tmp_path)
    line = capsys.readouterr().err
    assert line.endswith("\rdownloading tale: 0.0 of 0.0 MB\n")
    assert line.count("\n") == 1


def test_archive_gives_its_one_file_whatever_its_name(serve: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    address, pages = serve
    pages["/t.zip"] = (200, {}, zipped(**{"../../evil": TEXT}))
    path = get(f"{address}/t.zip", tmp_path / "folder")
    assert path.read_bytes() == TEXT
    assert path.parent == tmp_path / "folder"
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    ("path", "page", "message"),
    [
        ("/t.txt", (200, {}, TEXT[:-1]), f"has {len(TEXT) - 1} bytes, not {len(TEXT)}"),
        ("/t.txt", (200, {}, TEXT * 2), f"has {len(TEXT) + 1} bytes or more"),
        ("/t.txt", (200, {}, TEXT.replace(b"Once", b"Twix")), "has the SHA-256"),
        ("/t.txt", (200, {"Content-Length": "99999"}, TEXT[:100]), "ended after 100 of 99999 bytes"),
        ("/t.txt", (404, {}, b""), r"cannot download tale \(Not Found\)"),
        ("/t.zip", (200, {}, b"no archive"), "not a zip file"),
        ("/t.zip", (200, {}, zipped(a=TEXT, b=TEXT)), "2 files in the archive"),
        ("/t.zip", (200, {}, zipped(bomb=b"0" * 10_000_000)), f"has {len(TEXT) + 1} bytes or more"),
        ("/t.zip", (200, {}, zipped(a=TEXT)[:-60]), "not a zip file"),
    ],
)
def test_what_is_not_as_it_should_be_is_refused_and_removed(
    serve: tuple[str, dict[str, Any]], tmp_path: Path, path: str, page: Any, message: str
) -> None:
    address, pages = serve
    pages[path] = page
    with pytest.raises(DataError, match=message) as error:
        get(address + path, tmp_path)
    assert f"put the text there by hand as {tmp_path}" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_offline_says_where_to_put_the_file(tmp_path: Path) -> None:
    def offline(url: str) -> None:
        raise urllib.error.URLError("Name or service not known")

    with pytest.raises(DataError, match=r"cannot download tale .*not known.* by hand as") as error:
        fetch("tale", "https://example.org/t.txt", tmp_path, len(TEXT), SHA256, opener=offline)  # type: ignore[arg-type]
    place = str(error.value).split("by hand as ")[1].split(",")[0]
    with open(place, "wb") as file:  # noqa: PTH123
        file.write(TEXT)
    assert str(fetch("tale", "https://example.org/t.txt", tmp_path, len(TEXT), SHA256, opener=offline)) == place  # type: ignore[arg-type]


def test_wrong_file_put_there_by_hand_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="by hand as") as error:
        fetch("tale", "http://example.org", tmp_path, len(TEXT), SHA256)
    place = str(error.value).split("by hand as ")[1].split(",")[0]
    with open(place, "wb") as file:  # noqa: PTH123
        file.write(b"x" * len(TEXT))
    with pytest.raises(DataError, match=r"has the SHA-256 .*remove the file"):
        fetch("tale", "http://example.org", tmp_path, len(TEXT), SHA256)


def test_only_https_is_spoken(serve: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    address, pages = serve
    pages["/t.txt"] = (200, {}, TEXT)
    with pytest.raises(DataError, match="it is not https"):
        fetch("tale", f"{address}/t.txt", tmp_path, None, None)
    with pytest.raises(OSError, match="which is not https"):
        download._HttpsOnly().redirect_request(None, None, 302, "", {}, "http://example.org")


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(
    serve: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot download tale"):
        get("https://example.org/t.txt", tmp_path / "file" / "x")
