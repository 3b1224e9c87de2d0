"""Exports and imports that run into one folder at once: the first has it, the others say that it exists."""

from pathlib import Path

import pytest

from microgpt.engine.exchange.export import new_folder
from microgpt.errors import UsageError


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_second_of_two_exports_says_that_the_folder_exists(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def export() -> None:
        with new_folder(out) as hidden:
            (hidden / "mine").write_text("mine")
            if kind == "folder":
                with new_folder(out) as sooner:
                    (sooner / "theirs").write_text("theirs")
            else:
                out.write_text("theirs")

    with pytest.raises(UsageError, match="out' exists in OUT; name a new folder"):
        export()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "theirs" if kind == "folder" else out).read_text() == "theirs"
