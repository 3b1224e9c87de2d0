"""Text for people: what anyone wrote cannot drive a terminal or fill it; sizes and durations are named in one way."""

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microgpt import text
from microgpt.text import (
    brief,
    count_text,
    cut,
    escaped,
    mb,
    mib,
    number_of,
    one_line,
    printable,
    seconds_text,
    shown,
    step_text,
)

SOURCES = Path(text.__file__).parent


@given(st.text(st.characters(exclude_categories=())))
def test_a_block_keeps_its_lines_and_nothing_that_drives_a_terminal(said: str) -> None:
    safe = printable(said)
    assert len(safe) == len(said) - said.count("\r")
    assert all(c.isprintable() or c in "\n\t" or ord(c) > 0x9F for c in safe)
    assert not set(safe) & {"\x1b", "\x9b", "\r", "\b", "\x07", "\u202e", "\u2066", "\u200f"}
    safe.encode()  # no lone surrogate, at which a write would fail
    assert printable(safe) == safe


def test_harmless_text_stays_as_it_is() -> None:
    said = "naïve café\n\t日本語 🎩 e\u0301\n"
    assert printable(said) == said
    assert escaped("naïve 日本") == "naïve 日本"
    assert one_line("naïve 日本") == "naïve 日本"


@given(st.text(st.characters(exclude_categories=()), max_size=80), st.integers(4, 50))
def test_a_line_is_one_printable_line_of_limited_length(said: str, most: int) -> None:
    for line in (one_line(said, most), one_line(ValueError(said), most), shown(said, most)):
        assert line.isprintable()
        assert 0 < len(line) <= most
    assert escaped(said).isprintable()


def test_a_line_joins_what_stood_on_several_and_says_that_it_is_cut() -> None:
    assert one_line(ValueError("no\n  such\tfile\x1b[2J")) == "no such file\ufffd[2J"
    assert one_line(KeyError()) == "KeyError"
    assert one_line("abcdefgh", 7) == "abcd..."
    assert cut("abcdefg", 7) == "abcdefg"


def test_escapes_lose_nothing() -> None:
    assert escaped("a\x1b[31m\n\u202eb\ud800") == r"a\x1b[31m\n\u202eb\ud800"


def test_foreign_values_are_quoted_and_short() -> None:
    assert shown("a\u202eb") == r"'a\u202eb'"
    assert shown(7) == "7"
    assert shown({"a": "b" * 1000}) == "{'a': '" + "b" * 30 + "..."


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"), (None, "None"), ("rope", "rope"), ("a b", "'a b'"), ([1, 2], "[1, 2]"),
        (list(range(9)), "9 entries"), ("0" * 64, "0" * 16 + "..."), ({"a": "b" * 99}, "{'a': '" + "b" * 53),
    ],
)  # fmt: skip
def test_values_in_a_list_of_differences_are_brief(value: object, expected: str) -> None:
    assert brief(value) == expected


def test_sizes_durations_and_counts_have_their_units() -> None:
    assert (mib(1 << 30), mb(1.5e9), mb(1_234_567, 1)) == ("1,024 MiB", "1,500 MB", "1.2 MB")
    assert [count_text(n) for n in (912, 10_745, 10.7e6, 124_439_808, 1.5e9)] == [
        "912",
        "10.7k",
        "10.7M",
        "124M",
        "1.5B",
    ]
    assert [seconds_text(s) for s in (0.4, 119, 120, 7200, 172_800)] == ["0 s", "119 s", "2.0 min", "2.0 h", "2.0 days"]
    assert [step_text(s) for s in (0.00042, 0.0999, 0.1, 0.9994, 1)] == [
        "0.4 ms",
        "99.9 ms",
        "100 ms",
        "999 ms",
        "1.0 s",
    ]


EXEMPT = {
    ("data/tokenizer/char.py", "isprintable"),  # a vocabulary's file: characters by name, not text to show
    ("engine/plan/least_memory.py", "GB"),  # a number of GB that is no size of a file
    ("model/files/gguf/read.py", "str(...)[:n]"),  # a number of a stranger's file, cut short
}
QUOTING = ("str", "repr", "ascii")


def breaches(source: str) -> list[str]:
    """What a source does of its own that text.py is for."""
    found: list[Any] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr="isprintable" as name):
                found.append(name)
            case ast.Constant(value="unicode_escape" as name):
                found.append(name)
            case ast.JoinedStr(values=values):
                units = [value.value for value in values if isinstance(value, ast.Constant)]
                found += [
                    unit.split()[0] for unit in units if str(unit).startswith((" KB", " MB", " MiB", " GB", " GiB"))
                ]
            case ast.Subscript(value=ast.Call(func=ast.Name(id=name)), slice=ast.Slice(lower=None)) if name in QUOTING:
                found.append(f"{name}(...)[:n]")
            case ast.Subscript(value=ast.JoinedStr(), slice=ast.Slice(lower=None)):
                found.append('f"..."[:n]')
            case ast.Call(func=ast.Attribute(attr="split"), args=[], keywords=[]):
                if isinstance(node.func, ast.Attribute) and isinstance(call := node.func.value, ast.Call):
                    found += ["str(...).split()"] if isinstance(call.func, ast.Name) and call.func.id == "str" else []
    return found


def test_text_is_made_safe_and_sizes_are_named_in_one_place() -> None:
    found = {
        (str(path.relative_to(SOURCES)), name)
        for path in SOURCES.rglob("*.py")
        for name in breaches(path.read_text(encoding="utf-8"))
        if path != Path(text.__file__)
    }
    assert found == EXEMPT


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("''.join(c if c.isprintable() else '?' for c in text)", ["isprintable"]),
        ("text.encode('unicode_escape')", ["unicode_escape"]),
        ("f'{n / 2**20:.1f} MiB at most'", ["MiB"]),
        ("f'{str(value)[:40]!r}'", ["str(...)[:n]"]),
        ("f'{a} is no {b}'[:300]", ['f"..."[:n]']),
        ("' '.join(str(error).split())", ["str(...).split()"]),
        ("f'{n} of them'; names[:3]; text.split(); f'{a}'[1:]", []),
    ],
)
def test_a_planted_breach_is_found(source: str, names: list[str]) -> None:
    assert breaches(source) == names


def test_one_thing_is_singular() -> None:
    assert [number_of(n, "step") for n in (0, 1, 2000)] == ["0 steps", "1 step", "2000 steps"]
