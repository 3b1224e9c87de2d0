"""Families of parts: chosen by name, registered by being imported, found again by another process."""

from pathlib import Path

import pytest

from microgpt.config import Config, ConfigError, defaults
from microgpt.errors import UsageError
from microgpt.registry import Choice, import_part, portable_imports


class Shape(Choice, family="shape"):
    """A family for these tests."""


class Circle(Shape, name="circle"):
    radius: float = 1.0


class Drawing(Config):
    shape: Shape = Circle()
    size: int = 3


PART = """
from test_registry import Shape
with open({log!r}, "a") as file:
    file.write("x")

class Part(Shape, name="{name}"):
    side: float = {side}
"""


def part(path: Path, name: str, side: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PART.format(log=str(path.with_suffix(".log")), name=name, side=side))
    return path


@pytest.mark.parametrize("value", ["circle", {"name": "circle"}, Circle()])
def test_a_member_is_chosen_by_name_mapping_or_itself(value: object) -> None:
    assert Shape.choose(value) == Circle()
    assert Drawing(shape=value) == Drawing()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cirle", "shape: no shape 'cirle'; did you mean 'circle'?"),
        ({"name": "cube"}, "shape.name: no shape 'cube'; one of circle"),
        ({"radius": 1}, "shape.name: no shape None; one of circle"),
        (3, "shape: 3 is no shape; one of circle"),
        ({"name": "circle", "raduis": 1}, "shape.raduis: unknown key; did you mean 'radius'?"),
    ],
)
def test_a_wrong_choice_says_where_and_what_there_is(value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        Drawing.from_dict({"shape": value})
    assert str(error.value) == expected


def test_what_is_chosen_has_no_default_among_the_knobs() -> None:
    assert defaults(Drawing) == {"size": 3}


def test_a_file_is_imported_once_and_its_parts_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = part(tmp_path / "mine.py", "mine")
    monkeypatch.chdir(tmp_path)
    for name in ("mine.py", "./mine.py", str(path)):
        import_part(name)
    assert path.with_suffix(".log").read_text() == "x"
    assert Drawing.from_dict({"shape": "mine"}).to_dict() == {"shape": {"name": "mine", "side": 2.0}, "size": 3}
    assert portable_imports(["mine.py", "json"]) == [str(path), "json"]


def test_a_file_beside_the_yaml_is_found_again_when_that_folder_is_not_known(tmp_path: Path) -> None:
    path = part(tmp_path / "conf" / "parts" / "mine.py", "mine")
    import_part("parts/mine.py", tmp_path / "conf")
    import_part("../conf/parts/mine.py", tmp_path / "conf")
    for name in ("parts/mine.py", "../conf/parts/mine.py"):
        import_part(name)
        assert portable_imports([name]) == [str(path)]
    assert path.with_suffix(".log").read_text() == "x"
    with pytest.raises(UsageError, match=r"no such file 'other/mine\.py' in imports"):
        import_part("other/mine.py")


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    paths = [part(tmp_path / folder / "mine.py", folder) for folder in ("a", "b")]
    for path in (*paths, *paths):
        import_part(str(path))
    assert [path.with_suffix(".log").read_text() for path in paths] == ["x", "x"]
    assert portable_imports(map(str, paths)) == [str(path) for path in paths]
    assert {"a", "b"} <= set(Shape.members)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero in .*mine.py; make the file import cleanly"),
        ("def f(:", "SyntaxError: .* in .*mine.py; make the file import cleanly"),
        ("from test_registry import Shape\nclass Other(Shape, name='circle'): pass", "TypeError: shape 'circle' is al"),
    ],
)
def test_a_file_that_fails_is_named_and_can_be_repaired(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        import_part(str(path))
    part(path, "mine")
    import_part(str(path))
    assert Shape.members["mine"].__name__ == "Part"


def test_a_module_that_is_missing_is_an_error_of_use() -> None:
    with pytest.raises(UsageError, match="cannot import 'no_such_module'"):
        import_part("no_such_module")
