"""Every figure of the pages is drawn by a script that runs, and its caption says by which command, where and when."""

import re
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from browser import require_chromium

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "figures"
SCRIPTS = sorted(p.stem for p in (ROOT / "scripts" / "figures").glob("*.py") if "\nFIGURES = " in p.read_text("utf-8"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CAPTION = r"^!\[([^\]]{20,})\]\((?:docs/)?figures/([\w.-]+)\)\n\n\*(.+)\*$"
COMPUTED = {"rooms.svg", "rotary.png", "words.svg"}
"""Figures that no machine changes."""


@pytest.fixture(autouse=True)
def _scripts_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "figures"))


def script(name: str) -> Any:
    return import_module(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_draws_its_figures(name: str, tmp_path: Path, book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "page":
        require_chromium()
    script(name).main(
        ["--quick", "--out", str(tmp_path / "out"), *TEXT.get(name, [f"data.path={book}", *PROMPT.get(name, [])])]
    )
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert sorted(drawn) == sorted(script(name).FIGURES)
    for file, content in drawn.items():
        if file.endswith(".png"):
            width, height = struct.unpack(">II", content[16:24])
            assert 400 <= width <= 1600, file
            assert 200 <= height <= 1600, file
        else:
            assert content.startswith(b"<svg"), file


TEXT: dict[str, list[str]] = {"names": [], "inside": [], "finetuning": []}
"""Scripts whose runs have a text of their own."""
PROMPT = {"moments": ["sample.prompts=['the ']"]}
"""One that the text's characters allow."""


def test_every_figure_is_shown_made_by_a_script_and_none_is_left_over() -> None:
    made = [figure for name in SCRIPTS for figure in script(name).FIGURES]
    shown = {figure for page in PAGES for _, figure, _ in re.findall(CAPTION, page.read_text("utf-8"), re.M)}
    assert sorted(made) == sorted(path.name for path in FOLDER.iterdir())
    assert shown == set(made)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_figure_has_a_description_and_under_it_command_machine_and_date(page: Path) -> None:
    text = page.read_text("utf-8")
    figures = re.findall(CAPTION, text, re.M)
    assert len(figures) == text.count("](figures/") + text.count("](docs/figures/")
    for _, figure, caption in figures:
        command = re.search(r"`python scripts/figures/(\w+)\.py`", caption)
        assert command, figure
        assert figure in script(command[1]).FIGURES
        if figure not in COMPUTED:
            assert re.search(r"AMD EPYC \(Zen 4\), (\d+ )?[A-Z][a-z]+ 20\d\d", caption), figure


def test_the_picture_of_the_rooms_is_the_one_of_the_imports() -> None:
    rooms = script("rooms")
    drawn = rooms.picture(rooms.uses(rooms.PACKAGE))
    assert (FOLDER / "rooms.svg").read_text("utf-8") == drawn, "python scripts/figures/rooms.py"


def test_rooms_that_a_use_on_the_way_implies_are_not_joined() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert script("rooms").direct(graph) == [("a", "b"), ("b", "c"), ("d", "c")]
    assert script("rooms").levels(graph) == {"a": 2, "b": 1, "c": 0, "d": 1}
